"""Every error that the bus raises deliberately.

::

    DueBusError
    ├── InvalidArgument              a field is missing, malformed or out of its range
    │   ├── NoTopicSpecified
    │   ├── NoEventSpecified
    │   └── RequestIdReused          a request id that was used for other events
    ├── NoDispatcherSpecified        the request names an engine this server does not run
    ├── NoHandlerFound               a subscriber was required, and the topic has none
    ├── DispatcherNotWorking         the engine is stopped, draining or unreachable
    │   ├── UnusableStorage          the engine's storage can't be used by this server
    │   └── PartitionsChanging       the topic's partitions are being changed
    ├── DuplicateInitialized         an engine is started twice
    ├── MaxQueuedEventsReached       the topic is full
    ├── ConcurrentModification       an event was leased or changed meanwhile
    ├── NotFound                     no such topic, group, event or schedule
    ├── TopicHasSchedules            the topic has schedules: it can't be deleted, nor can they move
    ├── Unimplemented                this engine can't do that yet
    ├── Unauthenticated              credentials are required, or these are not accepted
    ├── PermissionDenied             no rule allows the caller to do that
    ├── MaxStreamsReached            the connection has reached its limit of open streams
    └── PartialDispatch              some of the events of a dispatch are stored, and others are not

``wire.status`` maps each class to one gRPC status; nothing else sets status codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from duebus_server.domain.model import EngineName


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One wrong field: its path in the request, such as ``events[3].delay``, and what is wrong with it."""

    field: str
    description: str


class DueBusError(Exception):
    """The root of the tree.

    Attributes:
        reason: the reason from the error table of the contract, for programs.
        metadata: the subject of the error (topic, group, engine, event id); sent as ``ErrorInfo.metadata``.
        retry_after_us: how many microseconds to wait before repeating the call; None if repeating does not help.
    """

    reason: ClassVar[str]

    def __init__(
        self, message: str, *, metadata: Mapping[str, str] | None = None, retry_after_us: int | None = None
    ) -> None:
        super().__init__(message)
        self.metadata: Mapping[str, str] = metadata or {}
        self.retry_after_us = retry_after_us


class InvalidArgument(DueBusError):
    """A field of the request is wrong; nothing was changed."""

    reason = "INVALID_ARGUMENT"

    def __init__(self, field: str, description: str) -> None:
        super().__init__(f"{field}: {description}")
        self.violation = FieldViolation(field, description)

    def within(self, path: str) -> InvalidArgument:
        """The same error, for a field inside a part of the request such as ``events[3]``."""
        return InvalidArgument(f"{path}.{self.violation.field}", self.violation.description)


def group_of_other_kind(group: str, *, is_ephemeral: bool) -> InvalidArgument:
    """A Subscribe asks for a lasting group, and the one of this name is ephemeral; or vice versa."""
    if is_ephemeral:
        return InvalidArgument(
            "ephemeral", f"must be set: group {group!r} is ephemeral, and is deleted when its subscribers have left"
        )
    return InvalidArgument("ephemeral", f"can't be set: group {group!r} exists and lasts until it is deleted")


class NoTopicSpecified(InvalidArgument):
    """The topic is empty."""

    reason = "NO_TOPIC_SPECIFIED"

    def __init__(self, field: str = "topic") -> None:
        super().__init__(field, "a topic is required")


class NoEventSpecified(InvalidArgument):
    """The dispatch has no events."""

    reason = "NO_EVENT_SPECIFIED"

    def __init__(self) -> None:
        super().__init__("events", "at least one event is required")


class RequestIdReused(InvalidArgument):
    """The request id was used, within the dedupe window, for a request with other events."""

    def __init__(self) -> None:
        super().__init__("request_id", "was used for a request with other events")


class NoDispatcherSpecified(DueBusError):
    """The request names an engine that this server does not run."""

    reason = "NO_DISPATCHER_SPECIFIED"


class NoHandlerFound(DueBusError):
    """``require_subscriber`` is set and the topic has no live subscriber."""

    reason = "NO_HANDLER_FOUND"


class DispatcherNotWorking(DueBusError):
    """The engine is stopped or draining, or its storage can't be reached."""

    reason = "DISPATCHER_NOT_WORKING"


class UnusableStorage(DispatcherNotWorking):
    """The engine's storage answers, but this server can't use it: wrong credentials, too old a version,
    or another build's data.

    Waiting does not help, so a server exits instead of trying again.
    """


class PartitionsChanging(DispatcherNotWorking):
    """The topic no longer has the partitions that the caller assumed; nothing was changed."""

    def __init__(self, topic: str) -> None:
        super().__init__(
            f"the partitions of topic {topic!r} are being changed", metadata={"topic": topic}, retry_after_us=200_000
        )


class DuplicateInitialized(DueBusError):
    """An engine is started twice in one process."""

    reason = "DUPLICATE_INITIALIZED"


class MaxQueuedEventsReached(DueBusError):
    """The topic is full; nothing was stored."""

    reason = "MAX_QUEUED_EVENTS_REACHED"


class ConcurrentModification(DueBusError):
    """An event was leased or changed meanwhile; nothing was changed."""

    reason = "CONCURRENT_MODIFICATION"


class TopicHasSchedules(DueBusError):
    """There are schedules for the topic: it can't be deleted, and they can't move to another; nothing was changed."""

    reason = "TOPIC_HAS_SCHEDULES"

    def __init__(self, topic: str, schedule: str) -> None:
        super().__init__(
            f"topic {topic!r} has schedules, such as {schedule!r}: delete them first",
            metadata={"topic": topic, "schedule": schedule},
        )


class NotFound(DueBusError):
    """No such topic, group, event or schedule."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: str, **metadata: str) -> None:
        super().__init__(f"no {kind} {name!r}", metadata={**metadata, kind: name})


class Unimplemented(DueBusError):
    """This engine, or this version of the server, can't do that."""

    reason = "UNIMPLEMENTED"


class Unauthenticated(DueBusError):
    """Credentials are missing or not accepted. The message never contains them."""

    reason = "UNAUTHENTICATED"


class PermissionDenied(DueBusError):
    """No rule allows the caller to do that; nothing was changed."""

    reason = "PERMISSION_DENIED"


class MaxStreamsReached(DueBusError):
    """The connection has reached its limit of open streams."""

    reason = "MAX_STREAMS_REACHED"


class PartialDispatch(DueBusError):
    """A dispatch failed partway: one of several engines, or one of a topic's partitions, did not store its events.

    Attributes:
        cause: why it failed; its status is the status of the call.
        stored_engines: the engines that hold events of ``event_ids``: all of them, except that the last of several may
            hold only some.
        event_ids: the ids of the events that are stored, in request order.
    """

    def __init__(self, cause: DueBusError, stored_engines: Sequence[EngineName], event_ids: Sequence[str]) -> None:
        stored = ", ".join(stored_engines)
        super().__init__(
            f"{cause} (already stored on {stored}: {len(event_ids)} events; repeating the same request_id is safe)",
            metadata={**cause.metadata, "stored_engines": stored},
            retry_after_us=cause.retry_after_us,
        )
        self.cause = cause
        self.stored_engines = tuple(stored_engines)
        self.event_ids = tuple(event_ids)

    @property
    def reason(self) -> str:  # type: ignore[override]  # the reason is that of the engine that failed
        """The reason of the engine that failed."""
        return self.cause.reason
