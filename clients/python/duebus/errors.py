"""The errors of the client: one tree.

DueBusError
├── InvalidArgument (also a ValueError)  a field is missing, malformed, unknown or out of its range
│   ├── NoTopicSpecified                 the topic is empty
│   └── NoEventSpecified                 a dispatch without events
├── NoDispatcherSpecified                the server does not run the requested engine
├── NoHandlerFound                       `require_subscriber`, and nobody is subscribed
├── DuplicateInitialized                 an engine is started twice in one process
├── MaxQueuedEventsReached               the topic is full; nothing was stored
├── ConcurrentModification               an event was leased or changed meanwhile; nothing was changed
├── NotFound                             no such topic, group, event or schedule
├── TopicHasSchedules                    the topic has schedules: it can't be deleted, nor can they move
├── Unimplemented                        the server can't do that yet
├── InternalError                        an unexpected error of the server
├── Unavailable                          the server can't be reached
│   ├── DispatcherNotWorking             the engine is stopped or draining, or its storage can't be reached
│   └── TlsHandshakeFailed               a certificate is not trusted, or one side does not speak TLS
├── DeadlineExceeded                     no answer within the timeout
├── Unauthenticated                      credentials are required, or these are not accepted
├── PermissionDenied                     these credentials do not allow that
├── MaxStreamsReached                    the connection has reached its limit of subscriptions
└── ClientClosed                         the client or the subscription was closed
"""

# The classes have the names of the error table, which do not end in "Error".

from collections.abc import Mapping
from datetime import timedelta

import grpc

from duebus._core.enums import Engine
from duebus._core.status_details import FieldViolation, read_status_details

__all__ = [
    "ClientClosed",
    "ConcurrentModification",
    "DeadlineExceeded",
    "DispatcherNotWorking",
    "DueBusError",
    "DuplicateInitialized",
    "FieldViolation",
    "InternalError",
    "InvalidArgument",
    "MaxQueuedEventsReached",
    "MaxStreamsReached",
    "NoDispatcherSpecified",
    "NoEventSpecified",
    "NoHandlerFound",
    "NoTopicSpecified",
    "NotFound",
    "PermissionDenied",
    "TlsHandshakeFailed",
    "TopicHasSchedules",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "from_rpc_error",
]


class DueBusError(Exception):
    """The root of all errors of DueBus.

    Attributes:
        reason: The name in the error table, for example "MAX_QUEUED_EVENTS_REACHED".
        message: What happened, for people.
        code: The gRPC status; None if the client itself found the error.
        metadata: What the error is about (topic, group, engine, ...).
        field_violations: The wrong fields; empty unless the input was bad.
        retry_after: How long to wait before repeating the call; None if the server did not say.
        stored_engines: If a dispatch failed partway: the engines that hold events of `stored_event_ids`. Each holds
            all of them, except that the last of several may hold only some. Repeating the dispatch with the same
            `request_id` stores what is missing.
        stored_event_ids: The ids of the events that are stored, in request order.
    """

    reason: str = "UNKNOWN"

    def __init__(
        self,
        message: str = "",
        *,
        reason: str | None = None,
        code: grpc.StatusCode | None = None,
        metadata: Mapping[str, str] | None = None,
        field_violations: tuple[FieldViolation, ...] = (),
        retry_after: timedelta | None = None,
        stored_engines: tuple[Engine, ...] = (),
        stored_event_ids: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        self.message = message
        self.code = code
        self.metadata = dict(metadata or {})
        self.field_violations = field_violations
        self.retry_after = retry_after
        self.stored_engines = stored_engines
        self.stored_event_ids = stored_event_ids

    def __str__(self) -> str:
        """One line: the message, and the wrong fields that it does not name."""
        line = " ".join(self.message.split()) or self.reason
        unnamed = [v for v in self.field_violations if v.field not in line]
        if not unnamed:
            return line
        return f"{line} ({'; '.join(f'{v.field}: {v.description}' for v in unnamed)})"


class InvalidArgument(DueBusError, ValueError):
    """A field is missing, malformed, unknown or out of its range; `field_violations` names it."""

    reason = "INVALID_ARGUMENT"

    @classmethod
    def of_field(cls, field: str, description: str) -> "InvalidArgument":
        """The error of one wrong field that the client itself found."""
        return cls(f"{field}: {description}", field_violations=(FieldViolation(field, description),))


class NoTopicSpecified(InvalidArgument):
    """The topic is empty."""

    reason = "NO_TOPIC_SPECIFIED"


class NoEventSpecified(InvalidArgument):
    """A dispatch without events."""

    reason = "NO_EVENT_SPECIFIED"


class NoDispatcherSpecified(DueBusError):
    """The request names an engine that the server does not run."""

    reason = "NO_DISPATCHER_SPECIFIED"


class NoHandlerFound(DueBusError):
    """`require_subscriber` was set, and the topic has no live subscriber on any replica."""

    reason = "NO_HANDLER_FOUND"


class TopicHasSchedules(DueBusError):
    """A topic with schedules can't be deleted, and a schedule can't move to another topic; nothing was changed."""

    reason = "TOPIC_HAS_SCHEDULES"


class DuplicateInitialized(DueBusError):
    """An engine is started twice in one process."""

    reason = "DUPLICATE_INITIALIZED"


class MaxQueuedEventsReached(DueBusError):
    """The topic is full and nothing was stored; `retry_after` says when to repeat."""

    reason = "MAX_QUEUED_EVENTS_REACHED"


class ConcurrentModification(DueBusError):
    """An event was leased or changed meanwhile; nothing was changed."""

    reason = "CONCURRENT_MODIFICATION"


class NotFound(DueBusError):
    """No such topic, group or event; `metadata` names it."""

    reason = "NOT_FOUND"


class Unimplemented(DueBusError):
    """The server, or its engine, can't do that yet."""

    reason = "UNIMPLEMENTED"


class InternalError(DueBusError):
    """An unexpected error of the server; `metadata["log_id"]` finds it in the server's log."""

    reason = "INTERNAL"


class Unavailable(DueBusError):
    """The server can't be reached. The call may have been carried out or not."""

    reason = "UNAVAILABLE"


class DispatcherNotWorking(Unavailable):
    """The engine is stopped or draining, or its storage can't be reached."""

    reason = "DISPATCHER_NOT_WORKING"


class TlsHandshakeFailed(Unavailable):
    """A certificate is not trusted, or one side does not speak TLS. The call is not repeated."""


class DeadlineExceeded(DueBusError):
    """There was no answer within the timeout. The call may have been carried out or not."""

    reason = "DEADLINE_EXCEEDED"


class Unauthenticated(DueBusError):
    """Credentials are required, or these are not accepted."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(DueBusError):
    """The credentials do not allow that."""

    reason = "PERMISSION_DENIED"


class MaxStreamsReached(DueBusError):
    """The client has as many subscriptions open as the server allows on one connection."""

    reason = "MAX_STREAMS_REACHED"


class ClientClosed(DueBusError):
    """The client or the subscription was closed, before the call or during it."""

    reason = "CLIENT_CLOSED"


_BY_REASON: Mapping[str, type[DueBusError]] = {
    error.reason: error
    for error in (
        DispatcherNotWorking,
        NoDispatcherSpecified,
        NoTopicSpecified,
        InvalidArgument,
        NoEventSpecified,
        NoHandlerFound,
        DuplicateInitialized,
        MaxQueuedEventsReached,
        ConcurrentModification,
        NotFound,
        TopicHasSchedules,
        InternalError,
        Unimplemented,
        Unauthenticated,
        PermissionDenied,
        MaxStreamsReached,
    )
}

# For errors without details, from gRPC itself or a proxy. Ambiguous statuses are left out: they become a plain
# DueBusError.
_BY_STATUS: Mapping[grpc.StatusCode, type[DueBusError]] = {
    grpc.StatusCode.INVALID_ARGUMENT: InvalidArgument,
    grpc.StatusCode.NOT_FOUND: NotFound,
    grpc.StatusCode.INTERNAL: InternalError,
    grpc.StatusCode.UNIMPLEMENTED: Unimplemented,
    grpc.StatusCode.UNAVAILABLE: Unavailable,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
    grpc.StatusCode.UNAUTHENTICATED: Unauthenticated,
    grpc.StatusCode.PERMISSION_DENIED: PermissionDenied,
}


# Explanations for gRPC's own messages.
_WORDS: Mapping[type[DueBusError], str] = {
    Unavailable: "the server can't be reached",
    TlsHandshakeFailed: "the TLS handshake failed",
    DeadlineExceeded: "no answer in time",
}

# Parts of gRPC's messages when TLS refuses the connection, which no retry can cure.
_REFUSED_BY_TLS = ("SSL routines", "Hostname Verification Check failed", "is not in peer certificate")

# gRPC ends connections in a forked child with a generic status. A retry opens a new one.
_CLOSED_ON_FORK = "Closed on fork"

# Part of gRPC's message when a request is too large to be read; its status is the same as that of a full topic.
_TOO_LARGE = "message larger than max"


def from_rpc_error(error: grpc.RpcError) -> DueBusError:
    """Translates an error of grpc or grpc.aio.

    The reason in the status details decides; without one, the status code does. The result is returned, not raised:
    `raise from_rpc_error(error) from error`.
    """
    code, message = error.code(), error.details() or ""
    details = read_status_details(error.trailing_metadata())
    if not details.reason:
        return _undetailed(code, message, details.retry_after)
    error_type = _BY_REASON.get(details.reason, _BY_STATUS.get(code, DueBusError))
    return error_type(
        message,
        reason=details.reason,
        code=code,
        metadata=details.metadata,
        field_violations=details.field_violations,
        retry_after=details.retry_after,
        stored_engines=details.stored_engines,
        stored_event_ids=details.stored_event_ids,
    )


def _undetailed(code: grpc.StatusCode, message: str, retry_after: timedelta | None) -> DueBusError:
    """An error of gRPC itself or a proxy."""
    if code is grpc.StatusCode.RESOURCE_EXHAUSTED and _TOO_LARGE in message:
        violation = FieldViolation("request", f"is larger than a message may be ({message})")
        return InvalidArgument(f"request: {violation.description}", code=code, field_violations=(violation,))
    error_type = Unavailable if _CLOSED_ON_FORK in message else _BY_STATUS.get(code, DueBusError)
    if error_type is Unavailable and any(each in message for each in _REFUSED_BY_TLS):
        error_type = TlsHandshakeFailed
    return error_type(
        f"{_WORDS[error_type]}: {message}" if error_type in _WORDS else message,
        reason=code.name if error_type is DueBusError else error_type.reason,
        code=code,
        retry_after=retry_after,
    )
