"""The lines of an export, as Pydantic models: what each holds, within which bounds, from and to the domain's own types.

docs/journal.md describes the lines.
"""

from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal, Self

from duebus_server.domain import limits
from duebus_server.domain.administration import GroupChanges, RetryPolicyChanges, TopicChanges
from duebus_server.domain.rates import KeyPolicy, Limits, OnDead, Rate
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import HeldCopy, HeldEvent, HeldGroup, HeldTopic
from duebus_server.domain.views import MAX_HISTORY, Attempt, AttemptOutcome
from google.protobuf import json_format
from pydantic import (
    AfterValidator,
    AwareDatetime,
    Base64Bytes,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    model_validator,
)

from duebus.v1 import event_bus_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Line(BaseModel):
    """What all lines have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_timedelta="float")


class Start(Line):
    """The format's number grows when an earlier build can't read the lines."""

    kind: Literal["export"] = "export"
    format: Literal[1] = 1


class End(Line):
    """The last line.

    Attributes:
        lines: How many lines are between it and the first one.
    """

    kind: Literal["end"] = "end"
    lines: int


def _within(low_us: int, high_us: int) -> Any:
    return Field(None, ge=low_us * _MICROSECOND, le=high_us * _MICROSECOND)


def _checked_name(text: str) -> str:
    if not limits.is_name(text):
        raise ValueError(f"{text!r} is not a name of a topic or group")
    return text


_Moment = Annotated[AwareDatetime, Field(ge=_EPOCH, lt=datetime(2255, 1, 1, tzinfo=UTC))]
"""Until then, microseconds fit exactly into what Redis keeps as a score."""
_Count = Annotated[int, Field(ge=0, le=0xFFFFFFFF)]
_Text = Annotated[str, Field(max_length=limits.MAX_NAME_BYTES)]
_Error = Annotated[str, Field(max_length=limits.MAX_ERROR_BYTES)]
_Name = Annotated[str, AfterValidator(_checked_name)]


class _Policy(Line):
    max_retries: NonNegativeInt | None = Field(None, le=limits.MAX_RETRIES)
    backoff_initial_seconds: timedelta | None = _within(limits.MIN_BACKOFF_US, limits.MAX_BACKOFF_US)
    backoff_max_seconds: timedelta | None = _within(limits.MIN_BACKOFF_US, limits.MAX_BACKOFF_US)

    @model_validator(mode="after")
    def _backoffs_agree(self) -> Self:
        initial, greatest = self.backoff_initial_seconds, self.backoff_max_seconds
        if initial is not None and greatest is not None and greatest < initial:
            raise ValueError("backoff_max_seconds must not be less than backoff_initial_seconds")
        return self

    @classmethod
    def of(cls, changes: RetryPolicyChanges) -> "_Policy":
        return cls(
            max_retries=changes.max_retries,
            backoff_initial_seconds=_span(changes.backoff_initial_us),
            backoff_max_seconds=_span(changes.backoff_max_us),
        )

    def changes(self) -> RetryPolicyChanges:
        return RetryPolicyChanges(
            self.max_retries, _span_us(self.backoff_initial_seconds), _span_us(self.backoff_max_seconds)
        )


class _Rate(Line):
    events: _Count
    per_seconds: timedelta
    burst: _Count = 0

    @classmethod
    def of(cls, rate: Rate | None) -> "_Rate | None":
        return (
            None if rate is None else cls(events=rate.events, per_seconds=rate.per_us * _MICROSECOND, burst=rate.burst)
        )

    def held(self) -> Rate:
        return Rate(self.events, self.per_seconds // _MICROSECOND, self.burst)


class _Limits(Line):
    max_in_flight: _Count = 0
    rate: _Rate | None = None

    @classmethod
    def of(cls, own: Limits | None) -> "_Limits | None":
        return cls(max_in_flight=own.max_in_flight, rate=_Rate.of(own.rate)) if own else None

    def held(self) -> Limits:
        found = Limits(self.max_in_flight, None if self.rate is None else self.rate.held())
        limits.check_limits("limits", found)
        return found


class _Keys(Line):
    max_in_flight: _Count | None = None
    rate: _Rate | None = None
    on_dead: OnDead = OnDead.SKIP
    max_blocked: _Count = 0

    @classmethod
    def of(cls, own: KeyPolicy | None) -> "_Keys | None":
        if not own:
            return None
        return cls(
            max_in_flight=own.max_in_flight,
            rate=_Rate.of(own.rate),
            on_dead=own.on_dead,
            max_blocked=own.max_blocked,
        )

    def held(self) -> KeyPolicy:
        found = KeyPolicy(
            self.max_in_flight, None if self.rate is None else self.rate.held(), self.on_dead, self.max_blocked
        )
        limits.check_key_policy("keys", found)
        return found


class Topic(Line):
    """A topic, and its settings that differ from the server's."""

    kind: Literal["topic"] = "topic"
    topic: _Name
    retry_policy: _Policy = _Policy()
    lease_seconds: timedelta | None = _within(limits.MIN_LEASE_US, limits.MAX_LEASE_US)
    max_queued: NonNegativeInt | None = Field(None, le=limits.MAX_QUEUED)
    dead_letter_retention_seconds: timedelta | None = _within(0, limits.MAX_RETENTION_US)
    dedupe_window_seconds: timedelta | None = _within(0, limits.MAX_DEDUPE_US)
    limits: _Limits | None = None
    keys: _Keys | None = None

    @classmethod
    def of(cls, held: HeldTopic) -> "Topic":
        """The line of a topic."""
        own = held.changes
        return cls(
            topic=held.topic,
            retry_policy=_Policy.of(own.retry_policy),
            lease_seconds=_span(own.lease_us),
            max_queued=own.max_queued,
            dead_letter_retention_seconds=_span(own.dead_letter_retention_us),
            dedupe_window_seconds=_span(own.dedupe_window_us),
            limits=_Limits.of(own.limits),
            keys=_Keys.of(own.keys),
        )

    def held(self) -> HeldTopic:
        """The topic of this line."""
        changes = TopicChanges(
            self.retry_policy.changes(),
            _span_us(self.lease_seconds),
            self.max_queued,
            _span_us(self.dead_letter_retention_seconds),
            _span_us(self.dedupe_window_seconds),
            limits=None if self.limits is None else self.limits.held(),
            keys=None if self.keys is None else self.keys.held(),
        )
        return HeldTopic(self.topic, changes)


class Group(Line):
    """A group, and its settings that differ from the topic's."""

    kind: Literal["group"] = "group"
    topic: _Name
    group: _Name
    paused: bool = False
    retry_policy: _Policy = _Policy()
    limits: _Limits | None = None
    keys: _Keys | None = None

    @classmethod
    def of(cls, held: HeldGroup) -> "Group":
        """The line of a group."""
        own = held.changes
        return cls(
            topic=held.topic,
            group=held.group,
            paused=held.paused,
            retry_policy=_Policy.of(own.retry_policy),
            limits=_Limits.of(own.limits),
            keys=_Keys.of(own.keys),
        )

    def held(self) -> HeldGroup:
        """The group of this line."""
        changes = GroupChanges(
            self.retry_policy.changes(),
            None if self.limits is None else self.limits.held(),
            None if self.keys is None else self.keys.held(),
        )
        return HeldGroup(self.topic, self.group, self.paused, changes)


class _Attempt(Line):
    attempt: _Count
    started_at: _Moment
    ended_at: _Moment | None = None
    consumer: _Text = ""
    outcome: AttemptOutcome
    error: _Error = ""
    redriven_at: _Moment | None = None

    @property
    def is_under_way(self) -> bool:
        return self.outcome is AttemptOutcome.UNDER_WAY

    @model_validator(mode="after")
    def _has_ended_or_not(self) -> Self:
        if self.is_under_way is not (self.ended_at is None):
            raise ValueError("an attempt needs ended_at, unless it is under way")
        return self

    @classmethod
    def of(cls, attempt: Attempt) -> "_Attempt":
        return cls(
            attempt=attempt.attempt,
            started_at=moment(attempt.started_us),
            ended_at=_maybe_moment(attempt.ended_us),
            consumer=attempt.consumer,
            outcome=attempt.outcome,
            error=attempt.error,
            redriven_at=_maybe_moment(attempt.redriven_us),
        )

    def held(self) -> Attempt:
        return Attempt(
            self.attempt,
            _moment_us(self.started_at),
            _maybe_moment_us(self.ended_at),
            self.consumer,
            self.outcome,
            self.error,
            _maybe_moment_us(self.redriven_at),
        )


class _Copy(Line):
    group: _Name | Literal[""]
    state: EventState
    deliver_at: _Moment
    attempts: _Count = 0
    free_attempts: _Count = 0
    last_error: _Error = ""
    lease_expires_at: _Moment | None = None
    consumer: _Text = ""
    dead_at: _Moment | None = None
    history: list[_Attempt] = Field([], max_length=MAX_HISTORY)
    pinned: bool = False

    @model_validator(mode="after")
    def _fits_the_state(self) -> Self:
        if self.state is EventState.DEAD and self.dead_at is None:
            raise ValueError("a dead event needs dead_at")
        if self.state is EventState.BLOCKED:
            raise ValueError("an event is blocked by others of its key: its state here is ready")
        if self.state is EventState.LEASED and not self.attempts:
            raise ValueError("a leased event needs attempts of at least 1")
        is_leased = self.state is EventState.LEASED
        for index, one in enumerate(reversed(self.history)):
            if one.is_under_way and not (is_leased and index == 0):
                raise ValueError("only the last attempt of a leased event is under way")
        return self

    @classmethod
    def of(cls, copy: HeldCopy) -> "_Copy":
        return cls(
            group=copy.group,
            state=copy.state,
            deliver_at=moment(copy.deliver_at_us),
            attempts=copy.attempts,
            free_attempts=copy.free_attempts,
            last_error=copy.last_error,
            lease_expires_at=_maybe_moment(copy.lease_expires_us),
            consumer=copy.consumer,
            dead_at=_maybe_moment(copy.dead_us),
            history=[_Attempt.of(one) for one in copy.history],
            pinned=copy.pinned,
        )

    def held(self) -> HeldCopy:
        return HeldCopy(
            self.group,
            self.state,
            _moment_us(self.deliver_at),
            self.attempts,
            self.free_attempts,
            self.last_error,
            _maybe_moment_us(self.lease_expires_at),
            self.consumer,
            _maybe_moment_us(self.dead_at),
            [one.held() for one in self.history],
            self.pinned,
        )


class Event(Line):
    """An event, and its state in each group that holds it."""

    kind: Literal["event"] = "event"
    topic: _Name
    event: dict[str, Any]
    dispatched_at: _Moment
    dispatched_by: _Text = ""
    groups: list[_Copy] = Field(min_length=1)

    @classmethod
    def of(cls, held: HeldEvent) -> "Event":
        """The line of an event."""
        message = event_bus_pb2.Event(id=held.event_id)
        message.MergeFromString(held.body)
        return cls(
            topic=held.topic,
            event=json_format.MessageToDict(message, preserving_proto_field_name=True),
            dispatched_at=moment(held.dispatched_us),
            dispatched_by=held.origin,
            groups=[_Copy.of(one) for one in held.copies],
        )

    def held(self) -> HeldEvent:
        """The event of this line."""
        message = json_format.ParseDict(self.event, event_bus_pb2.Event())
        event_id = message.id
        if not event_id:
            raise ValueError("event: has no id")
        if b64encode(message.data).decode() != self.event.get("data", ""):  # the parser skips what is no Base64
            raise ValueError("event.data: is not Base64")
        limits.check_text("event.id", event_id)
        limits.check_text("event.key", message.key, limits.MAX_KEY_BYTES)
        limits.check_range("event.priority", message.priority, -limits.MAX_PRIORITY, limits.MAX_PRIORITY)
        limits.check_length("event.data", len(message.data), limits.MAX_EVENT_BYTES)
        message.ClearField("id")
        return HeldEvent(
            self.topic,
            event_id,
            message.SerializeToString(),
            _moment_us(self.dispatched_at),
            self.dispatched_by,
            message.max_retries if message.HasField("max_retries") else None,
            [one.held() for one in self.groups],
            message.key,
            message.priority,
        )


class Schedule(Line):
    """A schedule; `body_base64` is the message Schedule."""

    kind: Literal["schedule"] = "schedule"
    name: _Name
    topic: _Name
    key: _Text = ""
    body_base64: Base64Bytes
    paused: bool = False
    next_at: _Moment | None = None
    due_at: _Moment | None = None
    runs: NonNegativeInt = 0
    skipped: NonNegativeInt = 0
    missed: NonNegativeInt = 0
    last_fired_at: _Moment | None = None
    last_event_ids: tuple[_Text, ...] = ()

    @classmethod
    def of(cls, held: ScheduleRecord) -> "Schedule":
        """The line of a schedule."""
        return cls(
            name=held.name,
            topic=held.topic,
            key=held.key,
            body_base64=b64encode(held.body),
            paused=held.paused,
            next_at=_maybe_moment(held.next_us),
            due_at=_maybe_moment(held.due_us),
            runs=held.runs,
            skipped=held.skipped,
            missed=held.missed,
            last_fired_at=_maybe_moment(held.last_fired_us),
            last_event_ids=tuple(held.last_event_ids),
        )

    def held(self) -> ScheduleRecord:
        """The schedule of this line."""
        return ScheduleRecord(
            self.name,
            self.topic,
            self.key,
            self.body_base64,
            paused=self.paused,
            next_us=_maybe_moment_us(self.next_at),
            due_us=_maybe_moment_us(self.due_at),
            runs=self.runs,
            skipped=self.skipped,
            missed=self.missed,
            last_fired_us=_maybe_moment_us(self.last_fired_at),
            last_event_ids=self.last_event_ids,
        )


AnyLine = Start | Topic | Group | Event | Schedule | End
"""A line of an export."""


def moment(us: int) -> datetime:
    """A time from microseconds since the Unix epoch."""
    return _EPOCH + us * _MICROSECOND


def _maybe_moment(us: int | None) -> datetime | None:
    return None if us is None else moment(us)


def _moment_us(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def _maybe_moment_us(moment: datetime | None) -> int | None:
    return None if moment is None else _moment_us(moment)


def _span(us: int | None) -> timedelta | None:
    return None if us is None else us * _MICROSECOND


def _span_us(span: timedelta | None) -> int | None:
    return None if span is None else span // _MICROSECOND
