"""The exceptions of failed calls."""

import pickle
from datetime import timedelta
from typing import Any

import grpc
import grpc.aio
import pytest
from duebus import Engine, errors
from duebus.errors import DueBusError, FieldViolation, from_rpc_error
from duebus.v1 import error_details_pb2, event_bus_pb2
from unit.client.fake_bus import Failure

C = grpc.StatusCode


def rpc_error(failure: Failure) -> grpc.RpcError:
    trailing = grpc.aio.Metadata(*failure.trailing_metadata())
    return grpc.aio.AioRpcError(failure.code, grpc.aio.Metadata(), trailing, failure.message, None)


@pytest.mark.parametrize(
    ("reason", "code", "expected"),
    [
        ("DISPATCHER_NOT_WORKING", C.UNAVAILABLE, errors.DispatcherNotWorking),
        ("NO_DISPATCHER_SPECIFIED", C.FAILED_PRECONDITION, errors.NoDispatcherSpecified),
        ("NO_TOPIC_SPECIFIED", C.INVALID_ARGUMENT, errors.NoTopicSpecified),
        ("INVALID_ARGUMENT", C.INVALID_ARGUMENT, errors.InvalidArgument),
        ("NO_EVENT_SPECIFIED", C.INVALID_ARGUMENT, errors.NoEventSpecified),
        ("TOPIC_HAS_SCHEDULES", C.FAILED_PRECONDITION, errors.TopicHasSchedules),
        ("NO_HANDLER_FOUND", C.FAILED_PRECONDITION, errors.NoHandlerFound),
        ("DUPLICATE_INITIALIZED", C.ALREADY_EXISTS, errors.DuplicateInitialized),
        ("MAX_QUEUED_EVENTS_REACHED", C.RESOURCE_EXHAUSTED, errors.MaxQueuedEventsReached),
        ("CONCURRENT_MODIFICATION", C.ABORTED, errors.ConcurrentModification),
        ("NOT_FOUND", C.NOT_FOUND, errors.NotFound),
        ("INTERNAL", C.INTERNAL, errors.InternalError),
        ("UNIMPLEMENTED", C.UNIMPLEMENTED, errors.Unimplemented),
    ],
)
def test_each_reason_of_the_error_table_has_its_class(
    reason: str, code: grpc.StatusCode, expected: type[DueBusError]
) -> None:
    error = from_rpc_error(rpc_error(Failure(code, "what happened", reason, {"topic": "orders"})))

    assert type(error) is expected
    assert (error.reason, error.code, error.message) == (reason, code, "what happened")
    assert error.metadata == {"topic": "orders"}


def test_the_contract_has_no_reason_that_the_table_lacks() -> None:
    names, prefix = dict(error_details_pb2.ErrorReason.items()), "ERROR_REASON_"
    reasons = {name.removeprefix(prefix) for name in names} - {"UNSPECIFIED"}
    assert len(reasons) > 10

    for reason in reasons:
        error = from_rpc_error(rpc_error(Failure(C.UNKNOWN, "", reason)))
        assert type(error) is not DueBusError, reason
        assert type(error).reason == reason


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (C.UNAVAILABLE, errors.Unavailable),
        (C.DEADLINE_EXCEEDED, errors.DeadlineExceeded),
        (C.UNAUTHENTICATED, errors.Unauthenticated),
        (C.PERMISSION_DENIED, errors.PermissionDenied),
        (C.UNIMPLEMENTED, errors.Unimplemented),
        (C.INVALID_ARGUMENT, errors.InvalidArgument),
        (C.INTERNAL, errors.InternalError),
        (C.NOT_FOUND, errors.NotFound),
    ],
)
def test_an_error_without_details_is_classified_by_its_status(
    code: grpc.StatusCode, expected: type[DueBusError]
) -> None:
    error = from_rpc_error(rpc_error(Failure(code, "said the proxy")))

    assert type(error) is expected
    assert error.reason == expected.reason
    assert "said the proxy" in str(error)


def test_an_ambiguous_status_is_a_plain_error() -> None:
    error = from_rpc_error(rpc_error(Failure(C.RESOURCE_EXHAUSTED, "too many connections")))

    assert type(error) is DueBusError
    assert (error.reason, error.code) == ("RESOURCE_EXHAUSTED", C.RESOURCE_EXHAUSTED)


def test_a_request_that_is_too_large_for_grpc_is_bad_input() -> None:
    details = "SERVER: Received message larger than max (20971597 vs. 16777216)"

    error = from_rpc_error(rpc_error(Failure(C.RESOURCE_EXHAUSTED, details)))

    assert type(error) is errors.InvalidArgument
    assert [each.field for each in error.field_violations] == ["request"]
    assert "20971597 vs. 16777216" in str(error)


def test_a_connection_that_ends_with_a_fork_can_be_tried_again() -> None:
    error = from_rpc_error(rpc_error(Failure(C.UNKNOWN, "Stream removed (Closed on fork)")))
    assert type(error) is errors.Unavailable


def test_an_unknown_reason_keeps_its_name_and_is_classified_by_its_status() -> None:
    error = from_rpc_error(rpc_error(Failure(C.NOT_FOUND, "gone", "SHARD_NOT_FOUND")))

    assert type(error) is errors.NotFound
    assert error.reason == "SHARD_NOT_FOUND"


def test_the_reason_of_another_domain_is_ignored() -> None:
    info = Failure(C.UNAVAILABLE, "", "NOT_FOUND").trailing_metadata()[0][1].replace(b"duebus", b"envoy!")
    failure = grpc.aio.AioRpcError(
        C.UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata(("grpc-status-details-bin", info)), "", None
    )

    assert type(from_rpc_error(failure)) is errors.Unavailable


def test_details_that_cannot_be_read_do_not_hide_the_error() -> None:
    trailing = grpc.aio.Metadata(("grpc-status-details-bin", b"\xff\xff\xff"))
    failure = grpc.aio.AioRpcError(C.INTERNAL, grpc.aio.Metadata(), trailing, "boom", None)

    assert str(from_rpc_error(failure)) == "boom"


def test_wrong_fields_are_named_in_one_line() -> None:
    failure = Failure(
        C.INVALID_ARGUMENT, "bad\nrequest", "INVALID_ARGUMENT", fields={"events[3].delay": "must not be negative"}
    )

    error = from_rpc_error(rpc_error(failure))

    assert error.field_violations == (FieldViolation("events[3].delay", "must not be negative"),)
    assert str(error) == "bad request (events[3].delay: must not be negative)"


def test_a_message_that_names_the_field_is_not_repeated() -> None:
    message = "events[3].delay: must not be negative"
    failure = Failure(
        C.INVALID_ARGUMENT, message, "INVALID_ARGUMENT", fields={"events[3].delay": "must not be negative"}
    )

    assert str(from_rpc_error(rpc_error(failure))) == message


def test_a_full_topic_has_a_retry_delay() -> None:
    failure = Failure(C.RESOURCE_EXHAUSTED, "full", "MAX_QUEUED_EVENTS_REACHED", retry_after=0.25)

    assert from_rpc_error(rpc_error(failure)).retry_after == timedelta(milliseconds=250)


def test_a_partial_dispatch_names_the_engines_that_hold_the_events() -> None:
    partial = error_details_pb2.PartialDispatch(stored_engines=[event_bus_pb2.ENGINE_LOCAL], event_ids=["a", "b"])
    failure = Failure(C.UNAVAILABLE, "redis is away", "DISPATCHER_NOT_WORKING", more=(partial,))

    error = from_rpc_error(rpc_error(failure))

    assert error.stored_engines == (Engine.LOCAL,)
    assert error.stored_event_ids == ("a", "b")


def test_bad_input_is_a_value_error_and_a_stopped_engine_is_unavailable() -> None:
    assert issubclass(errors.InvalidArgument, ValueError)
    assert issubclass(errors.NoTopicSpecified, errors.InvalidArgument)
    assert issubclass(errors.NoEventSpecified, errors.InvalidArgument)
    assert issubclass(errors.DispatcherNotWorking, errors.Unavailable)


def test_errors_can_be_pickled() -> None:
    error: Any = errors.MaxQueuedEventsReached("full", code=C.RESOURCE_EXHAUSTED, retry_after=timedelta(seconds=1))

    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes

    assert type(copy) is errors.MaxQueuedEventsReached
    assert (copy.reason, copy.code, copy.retry_after) == (error.reason, error.code, error.retry_after)


def test_every_error_of_the_module_is_in_its_tree_and_in_the_drawing() -> None:
    classes = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, Exception)]

    assert len(classes) > 10
    for each in classes:
        assert issubclass(each, DueBusError)
        assert each.__name__ in (errors.__doc__ or "")
        assert each.__name__ in errors.__all__
