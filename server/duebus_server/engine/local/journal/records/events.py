"""Records of what happens to events."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from duebus_server.domain.states import EventState
from duebus_server.engine.local.due_index import sort_key
from duebus_server.engine.local.journal.columns import Columns
from duebus_server.engine.local.journal.frames import Kind
from duebus_server.engine.local.journal.records.answers import Answered
from duebus_server.engine.local.journal.records.entries import add_entries, read_entries
from duebus_server.engine.local.records import Arrivals, StoredEvent

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.local.journal.columns import ColumnReader
    from duebus_server.engine.local.journal.records.entries import EntryState
    from duebus_server.engine.local.records import Segment

ENTRY_BYTES, ATTEMPT_BYTES = 80, 60
"""About how many bytes an event's state in a group, and an attempt, take up besides their texts."""


@dataclass(slots=True)
class Dispatched:
    """The events of one request, in order of ``seq`` without gaps.

    Attributes:
        groups: their names, with "" for the unclaimed events, and whether each is ephemeral.
        due_us: when each event is due; empty if all are due at once.
        by_host: which of them are due by the host's clock; empty if none is.
        answered: without ``event_ids`` where those are the ids of the events.
        keys: the key of each event; empty if none has one.
        priorities: the priority of each event; empty if none has one.
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
    priorities: Sequence[int] = ()
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
            .numbers(*self.priorities)
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
        max_retries, due_us, priorities = reader.optional(), reader.numbers(), reader.numbers()
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
            priorities,
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
        until_us: until when the ids of events that no group holds anymore are remembered.
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
            event.arrival = arrivals.of(
                was.dispatched_us, was.max_retries, was.id_is_generated, was.key, was.priority, was.origin
            )
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
            .numbers(*[event.arrival.priority for event in self.events])
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
        seqs, dispatched_us, priorities = reader.numbers(), reader.numbers(), reader.numbers()
        max_retries, (generated,), bodies = reader.optional(), reader.blobs(), reader.blobs()
        tail = reader.left
        arrivals = Arrivals()
        events = [
            StoredEvent(
                event_id,
                body,
                arrivals.of(at_us, limit, bool(made), key, priority, origin),
                EventState.READY,
                sort_key(at_us, seq),
            )
            for event_id, body, seq, at_us, limit, made, origin, key, priority in zip(
                ids, bodies, seqs, dispatched_us, max_retries, generated, origins, keys, priorities, strict=True
            )
        ]
        names, (ephemeral,) = reader.texts(), reader.blobs()
        groups = [
            CopiedGroup(name, bool(flag), read_entries(reader)) for name, flag in zip(names, ephemeral, strict=True)
        ]
        return cls(topic, events, bodies, groups, tail)
