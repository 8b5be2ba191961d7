"""A watcher that records what an engine reports, and lets a test wait for it."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from duebus_server.domain.model import LeaseBatch, LeasedEvent


class Due(NamedTuple):
    """The group has something to lease at that time."""

    topic: str
    group: str
    at_us: int


class Step(NamedTuple):
    """Events of the group that became dead letters, or suspects, in one step."""

    topic: str
    group: str
    events: int
    first_ids: tuple[str, ...]


class Recorder:
    """Implements ``engine.base.Watcher``.

    Args:
        timeout_s: how long to wait for a report; 0 for an engine that reports before its verbs return.

    Attributes:
        dues: all due times reported since ``forget``, in order.
        batches: for each session, what dispatches have reported of its reservations, in order.
        ended: for each session, the fencing tokens of the leases that have ended, in order.
        ran_out: the ones of these that ran out.
        extended: the sessions whose leases were extended, in order.
        deaths: the events that became dead letters, in order, one entry a step.
        suspects: the events that became suspects, in the same way.
        deletions: the topics and groups that were deleted, in order; a group of None means the whole topic.
        limits: the topics and groups of which every delivery counts for a limit.
    """

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self.dues: list[Due] = []
        self.batches: dict[str, list[LeaseBatch]] = defaultdict(list)
        self.ended: dict[str, list[int]] = defaultdict(list)
        self.deletions: list[tuple[str, str | None]] = []
        self.limits: list[tuple[str, str]] = []
        self.schedule_dues: list[int] = []
        self.deaths: list[Step] = []
        self.suspects: list[Step] = []
        self.ran_out: dict[str, list[int]] = defaultdict(list)
        self.extended: list[str] = []
        self._reported = asyncio.Event()

    def due(self, topic: str, group: str, at_us: int) -> None:
        """Called by the engine."""
        self.dues.append(Due(topic, group, at_us))
        self._reported.set()

    def leased(self, _topic: str, _group: str, session_id: str, batch: LeaseBatch) -> None:
        """Called by the engine."""
        self.batches[session_id].append(batch)
        self._reported.set()

    def handed_over(self, session_id: str) -> list[LeasedEvent]:
        """The events that dispatches have handed over to a session, in order."""
        return [event for batch in self.batches[session_id] for event in batch.events]

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """Called by the engine."""
        self.ended[session_id].extend(fencing_tokens)
        self._reported.set()

    def leases_ran_out(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """Called by the engine."""
        self.ran_out[session_id].extend(fencing_tokens)
        self.leases_ended(session_id, fencing_tokens)

    def leases_extended(self, session_id: str) -> None:
        """Called by the engine."""
        self.extended.append(session_id)
        self._reported.set()

    def suspected(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """Called by the engine."""
        self.suspects.append(Step(topic, group, count, tuple(first_ids)))
        self._reported.set()

    def died(self, topic: str, group: str, count: int, first_ids: Sequence[str]) -> None:
        """Called by the engine."""
        self.deaths.append(Step(topic, group, count, tuple(first_ids)))
        self._reported.set()

    def deleted(self, topic: str, group: str | None) -> None:
        """Called by the engine."""
        self.deletions.append((topic, group))
        self._reported.set()

    def limited(self, topic: str, group: str) -> None:
        """Called by the engine."""
        self.limits.append((topic, group))
        self._reported.set()

    def schedules_due(self, at_us: int) -> None:
        """Called by the engine."""
        self.schedule_dues.append(at_us)
        self._reported.set()

    def forget(self) -> None:
        """Forget what was recorded."""
        self.schedule_dues.clear()
        self.dues.clear()
        self.batches.clear()
        self.ended.clear()
        self.ran_out.clear()
        self.extended.clear()
        self.suspects.clear()
        self.deletions.clear()
        self.limits.clear()
        self.deaths.clear()

    async def until(self, happened: Callable[[], bool], what: str) -> None:
        """Return when ``happened`` is true of what was recorded.

        Raises:
            AssertionError: it did not in time; the message has ``what`` was expected and what was reported.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                while not happened():
                    self._reported.clear()
                    await self._reported.wait()
        except TimeoutError:
            reported = f"due: {self.dues}, ended: {dict(self.ended)}"
            raise AssertionError(f"the engine did not report {what}; it reported {reported}") from None

    async def until_due(self, topic: str, group: str, near: Callable[[int], bool], what: str = "what is due") -> None:
        """Return when a due time that is ``near`` was reported for this group."""
        await self.until(
            lambda: any(due.topic == topic and due.group == group and near(due.at_us) for due in self.dues), what
        )

    async def until_ended(self, session_id: str, *fencing_tokens: int) -> None:
        """Return when the end of these leases was reported to the session."""
        await self.until(
            lambda: set(fencing_tokens) <= set(self.ended[session_id]), f"{session_id} that {fencing_tokens} ended"
        )
