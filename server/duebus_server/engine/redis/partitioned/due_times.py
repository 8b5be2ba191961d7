"""When each partition next has something to lease, so that a lease asks only partitions that may have something."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from duebus_server.domain.model import LeaseBatch
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.partitioned.minutes import MinutesOfTopics
    from duebus_server.engine.watcher import Watcher

_NEVER = float("inf")


class DueTimes:
    """What this replica knows about groups in partitions. Where it knows nothing, something may be due."""

    def __init__(self) -> None:
        self._next: dict[tuple[Partition, str], float] = {}
        # When the first suspect is due, where the last session that leased could not take it. `_next` leaves it out.
        self._suspects: dict[tuple[Partition, str], float] = {}

    def may_be_due(self, partition: Partition, group: str, now_us: int, *, with_suspect: bool) -> bool:
        """Whether it is worth asking a partition for events of a group, with or without a suspect."""
        suspect = self._suspects.get((partition, group), _NEVER) if with_suspect else _NEVER
        return min(self._next.get((partition, group), now_us), suspect) <= now_us

    def first(self, partitions: Sequence[Partition], group: str, now_us: int) -> int | None:
        """When the first of these partitions has something, in microseconds; None for never."""
        return _first(self._next.get((partition, group), now_us) for partition in partitions)

    def first_suspect(self, partitions: Sequence[Partition], group: str) -> int | None:
        """When the first suspect is due, for a session that may take one, in microseconds; None for never."""
        return _first(self._suspects.get((partition, group), _NEVER) for partition in partitions)

    def due(self, partition: Partition, group: str, at_us: int) -> None:
        """Something is due at ``at_us``."""
        known = self._next.get((partition, group))
        if known is not None and at_us < known:
            self._next[partition, group] = at_us

    @contextmanager
    def leasing(self, partition: Partition, group: str) -> Iterator[PartitionLease]:
        """A session leases from a partition during the block. What is reported meanwhile counts too."""
        self._next[partition, group] = _NEVER
        lease = PartitionLease()
        try:
            yield lease
        finally:
            if lease.is_done:
                if lease.next_due_us is not None:
                    self.due(partition, group, lease.next_due_us)
                if lease.suspect_due_us is None:
                    self._suspects.pop((partition, group), None)
                else:
                    self._suspects[partition, group] = lease.suspect_due_us
            else:
                self.forget(partition, group)

    def forget(self, partition: Partition, group: str) -> None:
        """Forget what is known: the group may have something in this partition."""
        self._next.pop((partition, group), None)


def _first(times: Iterable[float]) -> int | None:
    first = min(times)
    return None if first == _NEVER else int(first)


class PartitionLease:
    """One lease from one partition.

    Attributes:
        is_done: it has been answered.
        next_due_us: when there may be more, according to the answer.
        suspect_due_us: as in ``LeaseBatch``.
    """

    def __init__(self) -> None:
        self.is_done = False
        self.next_due_us: int | None = None
        self.suspect_due_us: int | None = None

    def found(self, batch: LeaseBatch) -> None:
        """The lease was answered."""
        self.is_done, self.next_due_us, self.suspect_due_us = True, batch.next_due_us, batch.suspect_due_us


class TopicReports:
    """Receives reports about partitions, and passes them on to a watcher as reports about topics.

    Args:
        watcher: receives the reports about topics.
        due_times: receives the due times of partitions.
        minutes: counts what the reports tell.
    """

    def __init__(self, watcher: Watcher, due_times: DueTimes, minutes: MinutesOfTopics) -> None:
        self._watcher = watcher
        self._minutes = minutes
        self._due_times = due_times

    def due(self, partition: Partition, group: str, at_us: int) -> None:
        """The group has something in a partition."""
        self._due_times.due(partition, group, at_us)
        self._watcher.due(partition.topic, group, at_us)

    def leased(self, partition: Partition, group: str, session_id: str, batch: LeaseBatch) -> None:
        """Reported by each partition that has stored something."""
        if batch.next_due_us is not None:
            self._due_times.due(partition, group, batch.next_due_us)
        self._minutes.delivered(partition.topic, group, batch)
        self._watcher.leased(partition.topic, group, session_id, batch)

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """Fencing tokens are unique over all partitions."""
        self._watcher.leases_ended(session_id, fencing_tokens)

    def leases_ran_out(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """As ``leases_ended``."""
        self._watcher.leases_ran_out(session_id, fencing_tokens)

    def leases_extended(self, session_id: str) -> None:
        """Reported by each partition."""
        self._watcher.leases_extended(session_id)

    def died(self, partition: Partition, group: str, count: int, first_ids: Sequence[str]) -> None:
        """Events died in one partition; each partition reports its own."""
        self._minutes.died(partition.topic, group, count)
        self._watcher.died(partition.topic, group, count, first_ids)

    def suspected(self, partition: Partition, group: str, count: int, first_ids: Sequence[str]) -> None:
        """As ``died``."""
        self._watcher.suspected(partition.topic, group, count, first_ids)

    def schedules_due(self, at_us: int) -> None:
        """See ``Watcher.schedules_due``."""
        self._watcher.schedules_due(at_us)

    def limited(self, partition: Partition, group: str) -> None:
        """Each partition reports it."""
        self._watcher.limited(partition.topic, group)

    def deleted(self, partition: Partition, group: str | None) -> None:
        """Reported once for a group, when the first partition has lost it. A deleted topic is reported as a whole."""
        if partition.count == 1 or (group is not None and partition.number == 0):
            self._minutes.deleted(partition.topic, group)
            self._watcher.deleted(partition.topic, group)
