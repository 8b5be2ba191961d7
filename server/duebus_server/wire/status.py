"""The one table from the domain's errors to gRPC statuses, and the details of each."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import grpc
import structlog
from duebus.v1 import error_details_pb2
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2 as rpc_details_pb2
from google.rpc import status_pb2

from duebus_server.domain import errors
from duebus_server.wire.names import ENGINE_TO_PB

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.protobuf.message import Message

log = structlog.get_logger()

DOMAIN = "duebus"
DETAILS_KEY = "grpc-status-details-bin"
"""Where clients look for google.rpc.Status (https://grpc.io/docs/guides/error/#richer-error-model)."""

MAX_IDS_BYTES = 4 << 10
"""The most event ids in an error. gRPC clients refuse trailers over 8 KiB, and report another error instead."""

STATUS_CODES: dict[type[errors.DueBusError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NoTopicSpecified: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NoEventSpecified: grpc.StatusCode.INVALID_ARGUMENT,
    errors.RequestIdReused: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NoDispatcherSpecified: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NoHandlerFound: grpc.StatusCode.FAILED_PRECONDITION,
    errors.DispatcherNotWorking: grpc.StatusCode.UNAVAILABLE,
    errors.UnusableStorage: grpc.StatusCode.UNAVAILABLE,
    errors.PartitionsChanging: grpc.StatusCode.UNAVAILABLE,
    errors.DuplicateInitialized: grpc.StatusCode.ALREADY_EXISTS,
    errors.MaxQueuedEventsReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.ConcurrentModification: grpc.StatusCode.ABORTED,
    errors.TopicHasSchedules: grpc.StatusCode.FAILED_PRECONDITION,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.Unimplemented: grpc.StatusCode.UNIMPLEMENTED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.MaxStreamsReached: grpc.StatusCode.RESOURCE_EXHAUSTED,
}

Status = tuple[grpc.StatusCode, str, tuple[tuple[str, bytes], ...]]
"""A code, a message, and the trailing metadata with the details."""


def status_of(error: errors.DueBusError) -> Status:
    """The status of an error."""
    cause = error.cause if isinstance(error, errors.PartialDispatch) else error
    return _status(STATUS_CODES[type(cause)], str(error), _details(error))


def code_of(error: BaseException) -> tuple[int, str]:
    """The number and the name of the status code of a call that ends with an error."""
    cause = error.cause if isinstance(error, errors.PartialDispatch) else error
    otherwise = grpc.StatusCode.INTERNAL if isinstance(error, Exception) else grpc.StatusCode.CANCELLED
    code = STATUS_CODES[type(cause)] if isinstance(cause, errors.DueBusError) else otherwise
    return int(code.value[0]), code.name


def internal_status(log_id: str) -> Status:
    """The status of an unexpected error: it contains only the id of its log line."""
    info = rpc_details_pb2.ErrorInfo(reason="INTERNAL", domain=DOMAIN, metadata={"log_id": log_id})
    return _status(grpc.StatusCode.INTERNAL, f"internal error, see log id {log_id}", iter([info]))


def unexpected(error: Exception, method: str) -> Status:
    """Log an unexpected error. Returns the status of its call."""
    log_id = uuid4().hex
    log.error("unexpected error", method=method, log_id=log_id, exc_info=error)
    return internal_status(log_id)


def _status(code: grpc.StatusCode, message: str, details: Iterator[Message]) -> Status:
    status = status_pb2.Status(code=code.value[0], message=message)
    for detail in details:
        packed = any_pb2.Any()
        packed.Pack(detail)
        status.details.append(packed)
    return code, message, ((DETAILS_KEY, status.SerializeToString()),)


def _details(error: errors.DueBusError) -> Iterator[Message]:
    yield rpc_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=dict(error.metadata))
    if isinstance(error, errors.InvalidArgument):
        wrong = error.violation
        violation = rpc_details_pb2.BadRequest.FieldViolation(field=wrong.field, description=wrong.description)
        yield rpc_details_pb2.BadRequest(field_violations=[violation])
    if error.retry_after_us is not None:
        delay = duration_pb2.Duration()
        delay.FromMicroseconds(error.retry_after_us)
        yield rpc_details_pb2.RetryInfo(retry_delay=delay)
    if isinstance(error, errors.PartialDispatch):
        stored = [ENGINE_TO_PB[name] for name in error.stored_engines]
        fit = sum(len(event_id.encode()) for event_id in error.event_ids) <= MAX_IDS_BYTES
        yield error_details_pb2.PartialDispatch(stored_engines=stored, event_ids=error.event_ids if fit else ())
