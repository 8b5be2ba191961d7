"""What a session knows about its latest lease or reservation, even while it is under way."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.domain.model import LeaseBatch, LeasedEvent


@dataclass(slots=True)
class LastLease:
    """A session's last lease or reservation. A lease has one answer; a reservation has any number.

    Attributes:
        with_suspect: whether it may bring a suspect.
        seen_changes: the waker's ``changes`` when it began, or after the last answer that brought events.
        next_due_us: when the group next has something to lease, for any session; None if it has nothing.
        is_answered: whether an answer has come.
        may_be_more: whether the answers have left something to lease, or something changed before they came.
        ended_early: the fencing tokens of leases that ended before the answer that brings them.
    """

    with_suspect: bool
    seen_changes: int
    next_due_us: int | None = None
    is_answered: bool = False
    may_be_more: bool = False
    ended_early: set[int] = field(default_factory=set)

    def answer(self, batch: LeaseBatch, group_due_us: int | None, now_us: int, changes: int) -> list[LeasedEvent]:
        """Record an answer.

        Args:
            batch: the answer.
            group_due_us: when the group next has something to lease, for any session.
            now_us: the engine's time.
            changes: the waker's ``changes`` now.

        Returns:
            The events that it brings, without those whose leases have ended.
        """
        self.is_answered = True
        self.next_due_us = first((self.next_due_us, group_due_us))
        if batch.events:
            is_more_due = batch.next_due_us is not None and batch.next_due_us <= now_us
            self.may_be_more = self.may_be_more or is_more_due or batch.has_more or changes != self.seen_changes
        if not self.ended_early:
            return list(batch.events)
        return [event for event in batch.events if event.fencing_token not in self.ended_early]


def first(times_us: Iterable[int | None]) -> int | None:
    """The earliest of these times; None means never."""
    return min((at_us for at_us in times_us if at_us is not None), default=None)
