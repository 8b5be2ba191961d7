"""The state of an event in a group, as columns of a record."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duebus_server.domain.states import EventState
from duebus_server.domain.views import Attempt, AttemptOutcome
from duebus_server.engine.local.journal.columns import joined
from duebus_server.engine.local.records import Lease

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.local.journal.columns import ColumnReader, Columns
    from duebus_server.engine.local.records import Entry

_STATES = (EventState.SCHEDULED, EventState.READY, EventState.LEASED, EventState.DEAD)
_OUTCOMES = (AttemptOutcome.NACKED, AttemptOutcome.DEAD, AttemptOutcome.RELEASED, AttemptOutcome.EXPIRED)
# Which of the due events of a key is READY, and which are BLOCKED, follows from the others.
_STATE_NUMBERS = {state: number for number, state in enumerate(_STATES)} | {EventState.BLOCKED: 1}
_OUTCOME_NUMBERS = {outcome: number for number, outcome in enumerate(_OUTCOMES)}


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
