"""The records of the journal, one class for each kind, with their encoding as bytes.

Records refer to events by ``seq``, which is unique in an engine. Times are in microseconds by the engine's clock; an
event scheduled by the host's clock has times by that.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Protocol, get_args

from duebus_server.domain.administration import RetryPolicyChanges, TopicChanges
from duebus_server.domain.states import EventState
from duebus_server.domain.views import Attempt, AttemptOutcome
from duebus_server.engine.local.due_index import sort_key
from duebus_server.engine.local.journal.columns import ColumnReader, Columns, joined, split
from duebus_server.engine.local.journal.frames import Kind
from duebus_server.engine.local.records import Arrivals, Lease, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duebus_server.engine.local.group import Group
    from duebus_server.engine.local.journal.segments import Segment
    from duebus_server.engine.local.records import Entry

ENTRY_BYTES, ATTEMPT_BYTES = 80, 60
"""About how many bytes an event's state in a group, and an attempt, take up beside their texts."""

_STATES = (EventState.SCHEDULED, EventState.READY, EventState.LEASED, EventState.DEAD)
_OUTCOMES = (AttemptOutcome.NACKED, AttemptOutcome.DEAD, AttemptOutcome.RELEASED, AttemptOutcome.EXPIRED)
# Which of the due events of a key is READY, and which are BLOCKED, follows from the others.
_STATE_NUMBERS = {state: number for number, state in enumerate(_STATES)} | {EventState.BLOCKED: 1}
_OUTCOME_NUMBERS = {outcome: number for number, outcome in enumerate(_OUTCOMES)}


class Record(Protocol):
    """One record."""

    kind: ClassVar[Kind]

    def body(self) -> bytes:
        """The record's body."""


@dataclass(slots=True)
class Mark:
    """What a restart needs besides events and groups.

    Attributes:
        token: no higher fencing token is handed out before a later mark is on the disk.
        ahead_us: how far the host's clock was ahead of the engine's.
    """

    kind: ClassVar[Kind] = Kind.MARK

    token: int
    ahead_us: int

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().numbers(self.token, self.ahead_us).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> Mark:
        """The record that has this body."""
        return cls(*reader.numbers())


@dataclass(slots=True)
class SegmentStart:
    """The first record of a segment: its number, and what a Mark says."""

    kind: ClassVar[Kind] = Kind.SEGMENT

    number: int
    token: int
    ahead_us: int

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().numbers(self.number, self.token, self.ahead_us).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> SegmentStart:
        """The record that has this body."""
        return cls(*reader.numbers())


@dataclass(slots=True)
class Answered:
    """A request that is remembered, with its answer.

    Attributes:
        request_id: empty if the request is not remembered.
        identity: see ``DispatchRequest.identity``.
        until_us: until when it is remembered.
        event_ids: the ids of all its events, in request order.
        duplicates: the ids of those that added nothing.
    """

    request_id: str = ""
    identity: int = 0
    until_us: int = 0
    event_ids: Sequence[str] = ()
    duplicates: Sequence[str] = ()


@dataclass(slots=True)
class Dispatched:
    """The events of one request, in order of ``seq`` without gaps.

    Attributes:
        groups: their names, with "" for the unclaimed events, and whether each is ephemeral.
        due_us: when each event is due; empty if all are due at once.
        by_host: which of them are due by the host's clock; empty if none is.
        answered: without ``event_ids`` where those are the ids of the events.
        keys: the key of each event; empty if none has one.
        end: where the record ends in its segment, and with it the last body; set when it was read.
    """

    kind: ClassVar[Kind] = Kind.DISPATCHED

    topic: str
    now_us: int
    first_seq: int
    origin: str
    groups: Sequence[tuple[str, bool]]
    event_ids: Sequence[str]
    bodies: Sequence[bytes]
    generated: Sequence[bool]
    max_retries: Sequence[int | None] = ()
    due_us: Sequence[int] = ()
    by_host: Sequence[bool] = ()
    answered: Answered = field(default_factory=Answered)
    keys: Sequence[str] = ()
    end: int = 0

    def body(self) -> bytes:
        """See ``Record``."""
        answered = self.answered
        return (
            Columns()
            .texts(self.topic, self.origin, answered.request_id)
            .numbers(self.now_us, self.first_seq, answered.identity, answered.until_us)
            .texts(*[name for name, _ in self.groups])
            .blobs([bytes([ephemeral for _, ephemeral in self.groups]), bytes(self.generated), bytes(self.by_host)])
            .optional(*self.max_retries)
            .numbers(*self.due_us)
            .texts(*answered.event_ids)
            .texts(*answered.duplicates)
            .texts(*self.event_ids)
            .texts(*self.keys)
            .blobs(self.bodies)
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> Dispatched:
        """The record that has this body."""
        topic, origin, request_id = reader.texts()
        now_us, first_seq, identity, until_us = reader.numbers()
        names = reader.texts()
        ephemeral, generated, by_host = reader.blobs()
        groups = [(name, bool(flag)) for name, flag in zip(names, ephemeral, strict=True)]
        max_retries, due_us = reader.optional(), reader.numbers()
        answered = Answered(request_id, identity, until_us, reader.texts(), reader.texts())
        event_ids, keys = reader.texts(), reader.texts()
        return cls(
            topic,
            now_us,
            first_seq,
            origin,
            groups,
            event_ids,
            reader.blobs(),
            [*map(bool, generated)],
            max_retries,
            due_us,
            [*map(bool, by_host)],
            answered,
            keys,
        )


@dataclass(slots=True)
class Leased:
    """Events that are leased to one session in one step. The fencing tokens have no gaps."""

    kind: ClassVar[Kind] = Kind.LEASED

    topic: str
    group: str
    session_id: str
    consumer: str
    grace_us: int
    stalled: bool
    now_us: int
    expires_us: int
    first_token: int
    seqs: Sequence[int]

    def body(self) -> bytes:
        """See ``Record``."""
        return (
            Columns()
            .texts(self.topic, self.group, self.session_id, self.consumer)
            .numbers(self.grace_us, self.stalled, self.now_us, self.expires_us, self.first_token)
            .numbers(*self.seqs)
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> Leased:
        """The record that has this body."""
        topic, group, session_id, consumer = reader.texts()
        grace_us, stalled, now_us, expires_us, first_token = reader.numbers()
        return cls(
            topic,
            group,
            session_id,
            consumer,
            grace_us,
            bool(stalled),
            now_us,
            expires_us,
            first_token,
            reader.numbers(),
        )


@dataclass(slots=True)
class Removed:
    """Events that a group is done with.

    Attributes:
        until_us: until when the ids of events that no group holds any more are remembered.
    """

    kind: ClassVar[Kind] = Kind.REMOVED

    topic: str
    group: str
    until_us: int
    seqs: Sequence[int]

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().texts(self.topic, self.group).numbers(self.until_us, *self.seqs).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> Removed:
        """The record that has this body."""
        topic, group = reader.texts()
        until_us, *seqs = reader.numbers()
        return cls(topic, group, until_us, seqs)


@dataclass(slots=True)
class EntryState:
    """Everything about an event in a group that can change, as in ``Entry``."""

    seq: int
    state: EventState
    at_us: int
    deliver_at_us: int
    attempt: int
    free_attempts: int
    by_host_clock: bool
    last_error: str
    lease: Lease | None
    history: Sequence[Attempt]
    pinned: bool

    @classmethod
    def of(cls, entry: Entry) -> EntryState:
        """The state of an entry now."""
        return cls(
            entry.seq,
            entry.state,
            entry.at_us,
            entry.deliver_at_us,
            entry.attempt,
            entry.past.free_attempts,
            entry.by_host_clock,
            entry.past.last_error,
            entry.lease,
            entry.past.history,
            entry.past.pinned,
        )


@dataclass(slots=True)
class Changed:
    """The state of events in a group."""

    kind: ClassVar[Kind] = Kind.CHANGED

    topic: str
    group: str
    entries: Sequence[EntryState]

    def body(self) -> bytes:
        """See ``Record``."""
        columns = Columns().texts(self.topic, self.group)
        add_entries(columns, self.entries)
        return columns.body()

    @classmethod
    def read(cls, reader: ColumnReader) -> Changed:
        """The record that has this body."""
        topic, group = reader.texts()
        return cls(topic, group, read_entries(reader))


@dataclass(slots=True)
class CopiedGroup:
    """The state of copied events in one group that holds some of them."""

    name: str
    ephemeral: bool
    entries: Sequence[EntryState]


@dataclass(slots=True)
class Copied:
    """Events with their state in every group that holds them. It replaces all that earlier records say about them.

    Attributes:
        events: those that ``read`` returns have no ``holders`` yet.
        bodies: those of the events.
        tail: how many bytes follow the bodies in the record; set when it was encoded or read.
        end: where the record ends in its segment; set when it was read.
    """

    kind: ClassVar[Kind] = Kind.COPIED

    topic: str
    events: Sequence[StoredEvent]
    bodies: Sequence[bytes]
    groups: Sequence[CopiedGroup]
    tail: int = 0
    end: int = 0

    def enter(self, segment: Segment) -> None:
        """The record is in this segment, so a restart no longer needs its events from earlier ones."""
        arrivals = Arrivals(self._state_bytes())
        for event in self.events:
            event.leaves()
            was = event.arrival
            event.arrival = arrivals.of(was.dispatched_us, was.max_retries, was.id_is_generated, was.key, was.origin)
            event.enters(segment)

    def _state_bytes(self) -> int:
        """About how many bytes the states of one event take up, on average."""
        states = [state for group in self.groups for state in group.entries]
        attempts = [attempt for state in states for attempt in state.history]
        texts = sum([len(one.last_error) for one in states]) + sum([len(one.error) for one in attempts])
        return (len(states) * ENTRY_BYTES + len(attempts) * ATTEMPT_BYTES + texts) // len(self.events)

    def body(self) -> bytes:
        """See ``Record``."""
        columns = (
            Columns()
            .texts(self.topic)
            .texts(*[event.id for event in self.events])
            .texts(*[event.arrival.origin for event in self.events])
            .texts(*[event.arrival.key for event in self.events])
            .numbers(*[event.seq for event in self.events])
            .numbers(*[event.arrival.dispatched_us for event in self.events])
            .optional(*[event.arrival.max_retries for event in self.events])
            .blobs([bytes([event.arrival.id_is_generated for event in self.events])])
            .blobs(self.bodies)
        )
        end = columns.size
        columns.texts(*[group.name for group in self.groups])
        columns.blobs([bytes([group.ephemeral for group in self.groups])])
        for group in self.groups:
            add_entries(columns, group.entries)
        self.tail = columns.size - end
        return columns.body()

    @classmethod
    def read(cls, reader: ColumnReader) -> Copied:
        """The record that has this body."""
        (topic,) = reader.texts()
        ids, origins, keys = reader.texts(), reader.texts(), reader.texts()
        seqs, dispatched_us = reader.numbers(), reader.numbers()
        max_retries, (generated,), bodies = reader.optional(), reader.blobs(), reader.blobs()
        tail = reader.left
        arrivals = Arrivals()
        events = [
            StoredEvent(
                event_id,
                body,
                arrivals.of(at_us, limit, bool(made), key, origin),
                EventState.READY,
                sort_key(at_us, seq),
            )
            for event_id, body, seq, at_us, limit, made, origin, key in zip(
                ids, bodies, seqs, dispatched_us, max_retries, generated, origins, keys, strict=True
            )
        ]
        names, (ephemeral,) = reader.texts(), reader.blobs()
        groups = [
            CopiedGroup(name, bool(flag), read_entries(reader)) for name, flag in zip(names, ephemeral, strict=True)
        ]
        return cls(topic, events, bodies, groups, tail)


@dataclass(slots=True)
class GroupState:
    """A group with its settings.

    Attributes:
        claims: whether it is new and takes over the unclaimed events.
        kept_us: how long an ephemeral group lasts without sessions.
    """

    kind: ClassVar[Kind] = Kind.GROUP

    topic: str
    group: str
    claims: bool
    ephemeral: bool
    kept_us: int
    paused: bool
    policy: RetryPolicyChanges | None

    @classmethod
    def of(cls, group: Group, *, claims: bool = False) -> GroupState:
        """A group as it is now."""
        return cls(group.topic, group.name, claims, group.ephemeral, group.kept_us, group.paused, group.policy_changes)

    def body(self) -> bytes:
        """See ``Record``."""
        return (
            Columns()
            .texts(self.topic, self.group)
            .numbers(self.claims, self.ephemeral, self.kept_us, self.paused)
            .optional(*_policy_numbers(self.policy or RetryPolicyChanges()))
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> GroupState:
        """The record that has this body."""
        topic, group = reader.texts()
        claims, ephemeral, kept_us, paused = reader.numbers()
        policy = RetryPolicyChanges(*reader.optional())
        return cls(topic, group, bool(claims), bool(ephemeral), kept_us, bool(paused), policy or None)


@dataclass(slots=True)
class GroupDeleted:
    """A group was deleted, with the events that only it held. ``until_us`` is as in Removed."""

    kind: ClassVar[Kind] = Kind.GROUP_DELETED

    topic: str
    group: str
    until_us: int

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().texts(self.topic, self.group).numbers(self.until_us).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> GroupDeleted:
        """The record that has this body."""
        topic, group = reader.texts()
        return cls(topic, group, *reader.numbers())


@dataclass(slots=True)
class TopicState:
    """A topic's own settings."""

    kind: ClassVar[Kind] = Kind.TOPIC

    topic: str
    changes: TopicChanges

    def body(self) -> bytes:
        """See ``Record``."""
        changes = self.changes
        return (
            Columns()
            .texts(self.topic)
            .optional(*_policy_numbers(changes.retry_policy))
            .optional(
                changes.lease_us,
                changes.max_queued,
                changes.dead_letter_retention_us,
                changes.dedupe_window_us,
                changes.partitions,
            )
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> TopicState:
        """The record that has this body."""
        (topic,) = reader.texts()
        return cls(topic, TopicChanges(RetryPolicyChanges(*reader.optional()), *reader.optional()))


@dataclass(slots=True)
class TopicDeleted:
    """A topic was deleted, with all its events."""

    kind: ClassVar[Kind] = Kind.TOPIC_DELETED

    topic: str

    def body(self) -> bytes:
        """See ``Record``."""
        return Columns().texts(self.topic).body()

    @classmethod
    def read(cls, reader: ColumnReader) -> TopicDeleted:
        """The record that has this body."""
        return cls(*reader.texts())


@dataclass(slots=True)
class Remembered:
    """Ids of events that are gone, each with the time until which it is remembered, and answered requests."""

    kind: ClassVar[Kind] = Kind.REMEMBERED

    topic: str
    event_ids: Sequence[str]
    until_us: Sequence[int]
    answers: Sequence[Answered] = ()

    def body(self) -> bytes:
        """See ``Record``."""
        answers = self.answers
        return (
            Columns()
            .texts(self.topic)
            .texts(*self.event_ids)
            .numbers(*self.until_us)
            .texts(*[answer.request_id for answer in answers])
            .numbers(*[answer.identity for answer in answers])
            .numbers(*[answer.until_us for answer in answers])
            .numbers(*[len(answer.event_ids) for answer in answers])
            .texts(*joined([answer.event_ids for answer in answers]))
            .numbers(*[len(answer.duplicates) for answer in answers])
            .texts(*joined([answer.duplicates for answer in answers]))
            .body()
        )

    @classmethod
    def read(cls, reader: ColumnReader) -> Remembered:
        """The record that has this body."""
        (topic,), event_ids, until_us = reader.texts(), reader.texts(), reader.numbers()
        request_ids, identities, answers_until_us = reader.texts(), reader.numbers(), reader.numbers()
        counts = reader.numbers()
        ids = split(reader.texts(), counts)
        counts = reader.numbers()
        duplicates = split(reader.texts(), counts)
        fields = zip(request_ids, identities, answers_until_us, ids, duplicates, strict=True)
        return cls(topic, event_ids, until_us, [Answered(*each) for each in fields])


AnyRecord = (
    SegmentStart
    | Mark
    | Dispatched
    | Leased
    | Removed
    | Changed
    | Copied
    | GroupState
    | GroupDeleted
    | TopicState
    | TopicDeleted
    | Remembered
)
_READERS: dict[Kind, Callable[[ColumnReader], AnyRecord]] = {each.kind: each.read for each in get_args(AnyRecord)}


def read_record(kind: int, body: bytes) -> AnyRecord:
    """The record of this kind that has this body.

    Raises:
        KeyError: no such kind, or one without a meaning of its own.
    """
    return _READERS[Kind(kind)](ColumnReader(body))


# --- parts ------------------------------------------------------------------------------------------------------------


def _policy_numbers(policy: RetryPolicyChanges) -> tuple[int | None, ...]:
    return policy.max_retries, policy.backoff_initial_us, policy.backoff_max_us


def add_entries(columns: Columns, entries: Sequence[EntryState]) -> None:
    """Add the columns of entries."""
    leases = [(index, entry.lease) for index, entry in enumerate(entries) if entry.lease is not None]
    columns.numbers(*[entry.seq for entry in entries])
    columns.numbers(*[entry.at_us for entry in entries])
    columns.numbers(*[entry.deliver_at_us for entry in entries])
    columns.numbers(*[entry.attempt for entry in entries])
    columns.numbers(*[entry.free_attempts for entry in entries])
    columns.blobs(
        [
            bytes([_STATE_NUMBERS[entry.state] for entry in entries]),
            bytes([entry.by_host_clock for entry in entries]),
            bytes([entry.pinned for entry in entries]),
            bytes([lease.stalled for _, lease in leases]),
        ]
    )
    columns.texts(*[entry.last_error for entry in entries])
    columns.numbers(*[index for index, _ in leases])
    columns.texts(*joined([(lease.session_id, lease.consumer) for _, lease in leases]))
    columns.numbers(*[lease.fencing_token for _, lease in leases])
    columns.numbers(*[lease.started_us for _, lease in leases])
    columns.numbers(*[lease.grace_us for _, lease in leases])
    columns.numbers(*[len(entry.history) for entry in entries])
    _add_attempts(columns, [attempt for entry in entries for attempt in entry.history])


def read_entries(reader: ColumnReader) -> list[EntryState]:
    """Read what ``add_entries`` added."""
    seqs, at_us, deliver_at_us = reader.numbers(), reader.numbers(), reader.numbers()
    attempts, free_attempts = reader.numbers(), reader.numbers()
    states, by_host, pinned, stalled = reader.blobs()
    errors = reader.texts()
    leases: list[Lease | None] = [None] * len(seqs)
    indexes, names = reader.numbers(), reader.texts()
    tokens, started_us, grace_us = reader.numbers(), reader.numbers(), reader.numbers()
    for index, session_id, consumer, *rest in zip(
        indexes, names[::2], names[1::2], tokens, started_us, map(bool, stalled), grace_us, strict=True
    ):
        leases[index] = Lease(session_id, consumer, *rest)
    counts = reader.numbers()
    history = iter(_read_attempts(reader))
    return [
        EntryState(
            seq,
            _STATES[state],
            at,
            due,
            attempt,
            free,
            bool(host),
            error,
            lease,
            [next(history) for _ in range(count)],
            bool(pin),
        )
        for seq, state, at, due, attempt, free, host, error, lease, count, pin in zip(
            seqs,
            states,
            at_us,
            deliver_at_us,
            attempts,
            free_attempts,
            by_host,
            errors,
            leases,
            counts,
            pinned,
            strict=True,
        )
    ]


def _add_attempts(columns: Columns, attempts: Sequence[Attempt]) -> None:
    columns.numbers(*[each.attempt for each in attempts])
    columns.numbers(*[each.started_us for each in attempts])
    columns.optional(*[each.ended_us for each in attempts])
    columns.optional(*[each.redriven_us for each in attempts])
    columns.blobs([bytes([_OUTCOME_NUMBERS[each.outcome] for each in attempts])])
    columns.texts(*joined([(each.consumer, each.error) for each in attempts]))


def _read_attempts(reader: ColumnReader) -> list[Attempt]:
    numbers, started_us, ended_us, redriven_us = (
        reader.numbers(),
        reader.numbers(),
        reader.optional(),
        reader.optional(),
    )
    (outcomes,), texts = reader.blobs(), reader.texts()
    return [
        Attempt(number, started, ended, consumer, _OUTCOMES[outcome], error, redriven)
        for number, started, ended, consumer, outcome, error, redriven in zip(
            numbers, started_us, ended_us, texts[::2], outcomes, texts[1::2], redriven_us, strict=True
        )
    ]
