"""The error table: every error of the domain has its status, its reason and its details."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import grpc
import pytest
from duebus.v1 import error_details_pb2, event_bus_pb2
from duebus_server.domain import errors
from duebus_server.domain.model import EngineName
from duebus_server.wire.status import DETAILS_KEY, STATUS_CODES, internal_status, status_of
from google.rpc import error_details_pb2 as rpc_details_pb2
from google.rpc import status_pb2

if TYPE_CHECKING:
    from google.protobuf.message import Message

Code = grpc.StatusCode

TABLE = [
    (errors.NoTopicSpecified(), Code.INVALID_ARGUMENT, "NO_TOPIC_SPECIFIED"),
    (errors.NoEventSpecified(), Code.INVALID_ARGUMENT, "NO_EVENT_SPECIFIED"),
    (errors.InvalidArgument("events[3].delay", "is negative"), Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    (errors.RequestIdReused(), Code.INVALID_ARGUMENT, "INVALID_ARGUMENT"),
    (errors.NoDispatcherSpecified("no redis here"), Code.FAILED_PRECONDITION, "NO_DISPATCHER_SPECIFIED"),
    (errors.TopicHasSchedules("reports", "daily"), Code.FAILED_PRECONDITION, "TOPIC_HAS_SCHEDULES"),
    (errors.NoHandlerFound("nobody listens"), Code.FAILED_PRECONDITION, "NO_HANDLER_FOUND"),
    (errors.DispatcherNotWorking("draining"), Code.UNAVAILABLE, "DISPATCHER_NOT_WORKING"),
    (errors.UnusableStorage("too old"), Code.UNAVAILABLE, "DISPATCHER_NOT_WORKING"),
    (errors.PartitionsChanging("orders"), Code.UNAVAILABLE, "DISPATCHER_NOT_WORKING"),
    (errors.DuplicateInitialized("twice"), Code.ALREADY_EXISTS, "DUPLICATE_INITIALIZED"),
    (errors.MaxQueuedEventsReached("full"), Code.RESOURCE_EXHAUSTED, "MAX_QUEUED_EVENTS_REACHED"),
    (errors.ConcurrentModification("leased"), Code.ABORTED, "CONCURRENT_MODIFICATION"),
    (errors.NotFound("topic", "orders"), Code.NOT_FOUND, "NOT_FOUND"),
    (errors.Unimplemented("not yet"), Code.UNIMPLEMENTED, "UNIMPLEMENTED"),
    (errors.Unauthenticated("who are you?"), Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
    (errors.PermissionDenied("not you"), Code.PERMISSION_DENIED, "PERMISSION_DENIED"),
    (errors.MaxStreamsReached("too many"), Code.RESOURCE_EXHAUSTED, "MAX_STREAMS_REACHED"),
]


def details_of(error: errors.DueBusError) -> list[Message]:
    """The details of the error's status, unpacked."""
    code, message, ((key, raw),) = status_of(error)
    assert key == DETAILS_KEY
    status = status_pb2.Status.FromString(raw)
    assert (status.code, status.message) == (code.value[0], message)
    kinds: list[Any] = [
        rpc_details_pb2.ErrorInfo,
        rpc_details_pb2.BadRequest,
        rpc_details_pb2.RetryInfo,
        error_details_pb2.PartialDispatch,
    ]
    found: list[Message] = []
    for detail in status.details:
        kind = next(kind for kind in kinds if detail.Is(kind.DESCRIPTOR))
        found.append(kind.FromString(detail.value))
    return found


@pytest.mark.parametrize(("error", "code", "reason"), TABLE, ids=lambda each: type(each).__name__)
def test_every_error_is_in_the_table(error: errors.DueBusError, code: grpc.StatusCode, reason: str) -> None:
    assert status_of(error)[:2] == (code, str(error))
    info = details_of(error)[0]
    assert isinstance(info, rpc_details_pb2.ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == (reason, "duebus", dict(error.metadata))


def test_the_table_is_complete() -> None:
    def tree(kind: type[errors.DueBusError]) -> set[type[errors.DueBusError]]:
        return {kind}.union(*(tree(child) for child in kind.__subclasses__()))

    leaves = tree(errors.DueBusError) - {errors.DueBusError, errors.PartialDispatch}
    assert leaves == set(STATUS_CODES) == {type(error) for error, _, _ in TABLE}


def test_every_reason_is_in_the_contract() -> None:
    contract = {name.removeprefix("ERROR_REASON_") for name in error_details_pb2.ErrorReason.keys()}  # noqa: SIM118  # no dict
    assert {reason for _, _, reason in TABLE} | {"INTERNAL", "UNSPECIFIED"} == contract


@pytest.mark.parametrize(("error", "_code", "_reason"), TABLE, ids=lambda each: type(each).__name__)
def test_only_bad_input_names_a_field(error: errors.DueBusError, _code: object, _reason: object) -> None:
    bad = [detail for detail in details_of(error) if isinstance(detail, rpc_details_pb2.BadRequest)]
    assert len(bad) == isinstance(error, errors.InvalidArgument)


def test_bad_input_names_the_path_of_the_field_and_what_is_wrong_with_it() -> None:
    bad = details_of(errors.InvalidArgument("events[3].delay", "is negative"))[1]
    assert isinstance(bad, rpc_details_pb2.BadRequest)
    assert [(each.field, each.description) for each in bad.field_violations] == [("events[3].delay", "is negative")]


@pytest.mark.parametrize(("retry_after_us", "expected"), [(None, None), (0, (0, 0)), (1_500_000, (1, 500_000_000))])
def test_a_retry_delay_is_sent_if_a_retry_helps(retry_after_us: int | None, expected: object) -> None:
    details = details_of(errors.MaxQueuedEventsReached("full", retry_after_us=retry_after_us))
    retries = [detail.retry_delay for detail in details if isinstance(detail, rpc_details_pb2.RetryInfo)]
    assert [(each.seconds, each.nanos) for each in retries] == ([] if expected is None else [expected])


def test_a_dispatch_that_one_of_several_engines_refused_has_the_status_of_that_engine_and_says_who_stored_it() -> None:
    cause = errors.MaxQueuedEventsReached("full", metadata={"topic": "orders"}, retry_after_us=1_000_000)
    error = errors.PartialDispatch(cause, [EngineName.LOCAL], ["a", "b"])
    assert status_of(error)[0] is Code.RESOURCE_EXHAUSTED
    info, retry, partial = details_of(error)
    assert isinstance(info, rpc_details_pb2.ErrorInfo)
    assert isinstance(retry, rpc_details_pb2.RetryInfo)
    assert isinstance(partial, error_details_pb2.PartialDispatch)
    assert (info.reason, dict(info.metadata)) == (
        "MAX_QUEUED_EVENTS_REACHED",
        {"topic": "orders", "stored_engines": "local"},
    )
    assert (list(partial.stored_engines), list(partial.event_ids)) == ([event_bus_pb2.ENGINE_LOCAL], ["a", "b"])


@pytest.mark.parametrize(("count", "named"), [(100, 100), (1_000, 0)])
def test_the_details_of_a_large_dispatch_fit_the_trailers_that_any_client_takes(count: int, named: int) -> None:
    """Clients refuse trailers over 8 KiB, and would hide the error."""
    ids = [f"{number:036}" for number in range(count)]
    error = errors.PartialDispatch(errors.DispatcherNotWorking("away"), [EngineName.LOCAL], ids)
    assert sum(len(value) for _, value in status_of(error)[2]) < 6_000
    partial = details_of(error)[-1]
    assert isinstance(partial, error_details_pb2.PartialDispatch)
    assert (len(partial.stored_engines), len(partial.event_ids)) == (1, named)


def test_an_unexpected_error_has_only_a_log_id() -> None:
    code, message, ((_, raw),) = internal_status("7f9c")
    (detail,) = status_pb2.Status.FromString(raw).details
    info = rpc_details_pb2.ErrorInfo.FromString(detail.value)
    assert (code, message) == (Code.INTERNAL, "internal error, see log id 7f9c")
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {"log_id": "7f9c"})
