"""What an engine holds as JSON lines: `duebus journal export` writes them, and `import` reads them.

The first line names the format, and the last one says how many lines there are, so that a file that was cut off is
noticed. docs/journal.md describes the lines.
"""

from base64 import b64encode
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from duebus_server.domain import limits
from duebus_server.domain.administration import GroupChanges, RetryPolicyChanges, TopicChanges
from duebus_server.domain.errors import DueBusError
from duebus_server.domain.rates import KeyPolicy, Limits, OnDead, Rate
from duebus_server.domain.schedules import ScheduleRecord
from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import Held, HeldCopy, HeldEvent, HeldGroup, HeldTopic
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
    TypeAdapter,
    ValidationError,
    model_validator,
)

from duebus.v1 import event_bus_pb2

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class BadLineError(ValueError):
    """A line can't be read. The text names the file and the line."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, ser_json_timedelta="float")


class _Start(_Model):
    """The format's number grows when an earlier build can't read the lines."""

    kind: Literal["export"] = "export"
    format: Literal[1] = 1


class _End(_Model):
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


class _Policy(_Model):
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


class _Rate(_Model):
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


class _Limits(_Model):
    max_in_flight: _Count = 0
    rate: _Rate | None = None

    @classmethod
    def of(cls, own: Limits | None) -> "_Limits | None":
        return cls(max_in_flight=own.max_in_flight, rate=_Rate.of(own.rate)) if own else None

    def held(self) -> Limits:
        found = Limits(self.max_in_flight, None if self.rate is None else self.rate.held())
        limits.check_limits("limits", found)
        return found


class _Keys(_Model):
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


class _Topic(_Model):
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
    def of(cls, held: HeldTopic) -> "_Topic":
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


class _Group(_Model):
    kind: Literal["group"] = "group"
    topic: _Name
    group: _Name
    paused: bool = False
    retry_policy: _Policy = _Policy()
    limits: _Limits | None = None
    keys: _Keys | None = None

    @classmethod
    def of(cls, held: HeldGroup) -> "_Group":
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
        changes = GroupChanges(
            self.retry_policy.changes(),
            None if self.limits is None else self.limits.held(),
            None if self.keys is None else self.keys.held(),
        )
        return HeldGroup(self.topic, self.group, self.paused, changes)


class _Attempt(_Model):
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


class _Copy(_Model):
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


class _Event(_Model):
    kind: Literal["event"] = "event"
    topic: _Name
    event: dict[str, Any]
    dispatched_at: _Moment
    dispatched_by: _Text = ""
    groups: list[_Copy] = Field(min_length=1)

    @classmethod
    def of(cls, held: HeldEvent) -> "_Event":
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


class _Schedule(_Model):
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
    def of(cls, held: ScheduleRecord) -> "_Schedule":
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


_Line = TypeAdapter[_Start | _Topic | _Group | _Event | _Schedule | _End](
    Annotated[_Start | _Topic | _Group | _Event | _Schedule | _End, Field(discriminator="kind")]
)


def written(held: Iterable[Held]) -> Iterator[str]:
    """The lines of what an engine holds, without line ends."""
    count = 0
    yield _Start().model_dump_json()
    for one in held:
        count += 1
        yield _line(one).model_dump_json(exclude_none=True)
    yield _End(lines=count).model_dump_json()


def _line(held: Held) -> _Model:
    if isinstance(held, HeldTopic):
        return _Topic.of(held)
    if isinstance(held, ScheduleRecord):
        return _Schedule.of(held)
    return _Group.of(held) if isinstance(held, HeldGroup) else _Event.of(held)


def read(path: Path) -> Iterator[Held]:
    """What a file of such lines says, checked as it is read.

    Raises:
        BadLineError: a line can't be read, or does not follow from those before it.
        OSError: the file can't be read.
    """
    seen = _Seen()
    number = 0
    with path.open("rb") as file:
        for number, text in enumerate(file, start=1):  # the number of the last line is used below
            try:
                line = _Line.validate_json(text)
                seen.check(line)
                if isinstance(line, _Topic | _Group | _Event | _Schedule):
                    yield line.held()
            except (ValueError, DueBusError, json_format.ParseError) as error:
                raise BadLineError(f"{path}: line {number}: {_reason(error)}") from error
    if not seen.has_ended:
        raise BadLineError(f"{path}: line {number + 1}: the file was cut off: its last line is missing")


class _Seen:
    """What the lines so far have named. Later lines have to follow from it.

    Attributes:
        has_ended: the last line was read.
    """

    def __init__(self) -> None:
        self.has_ended = False
        self._lines = -1  # the first line does not count
        self._topic = ""
        self._groups: set[str] = set()

    def check(self, line: _Start | _Topic | _Group | _Event | _Schedule | _End) -> None:
        """Take note of the next line.

        Raises:
            ValueError: it can't come here.
        """
        if self.has_ended:
            raise ValueError("comes after the last line")
        if isinstance(line, _Start) is not (self._lines < 0):
            raise ValueError('the first line, and no other, must be of kind "export"')
        if isinstance(line, _End):
            self.has_ended = True
            if line.lines != self._lines:
                raise ValueError(
                    f"the file has {self._lines} lines of topics, groups, events and schedules, not {line.lines}"
                )
            return
        self._lines += 1
        if isinstance(line, _Topic):
            self._topic, self._groups = line.topic, {""}
        elif isinstance(line, _Group | _Event):
            self._check_names(line)

    def _check_names(self, line: _Group | _Event) -> None:
        if line.topic != self._topic:
            raise ValueError(f"topic {line.topic!r} is not that of the topic line before")
        if isinstance(line, _Group):
            self._groups.add(line.group)
            return
        names = [copy.group for copy in line.groups]
        unknown = [name for name in names if name not in self._groups]
        if unknown:
            raise ValueError(f"no line before names the group {unknown[0]!r}")
        if len(set(names)) < len(names):
            raise ValueError("names a group twice")


def _reason(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    return f"{where}: {first['msg']}" if where else first["msg"]


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
