"""When schedules are due, as far as this replica knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND

if TYPE_CHECKING:
    from collections.abc import Collection

    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.replicas.notifications import Notifications
    from duebus_server.engine.redis.transport.runner import Runner

CHECK_EVERY_US = 10 * SECOND
"""How often a replica reads where schedules are, in case it has missed that one was added."""

_NEVER, _UNKNOWN = 1 << 62, 0


class ScheduleTimes:
    """When each partition's first schedule is due. The other replicas announce only what is sooner than all of them
    knew, so this one must look at each of these times.

    Attributes:
        heard: grows with each announcement. Whoever asks Redis notes it before, because an announcement that comes
            meanwhile need not be part of the answer.
    """

    def __init__(self, runner: Runner, notifications: Notifications) -> None:
        self._runner = runner
        self._notifications = notifications
        self._first: dict[Partition, int] = {}
        self._next_check_us = _UNKNOWN
        self.heard = 0

    @property
    def list_is_due(self) -> bool:
        """Whether it is time to read where schedules are."""
        return self._runner.now_us() >= self._next_check_us

    def listed(self, partitions: Collection[Partition]) -> None:
        """These partitions have schedules. Others that are known to have some do, too: Redis may have lost the note."""
        self._next_check_us = self._runner.now_us() + CHECK_EVERY_US
        known = (one for one, at_us in self._first.items() if at_us != _NEVER)
        self._first = {one: self._first.get(one, _UNKNOWN) for one in {*partitions, *known}}

    def recheck(self) -> None:
        """Announcements may have been missed: anything may be due."""
        self._next_check_us = _UNKNOWN
        self._first = dict.fromkeys(self._first, _UNKNOWN)
        self.report()

    def announced(self, partition: Partition, at_us: int) -> None:
        """A schedule is due at ``at_us``, by another replica's change or this one's own."""
        self.heard += 1
        self._first[partition] = min(at_us, self._first.get(partition, _NEVER))
        self.report()

    def found(self, partition: Partition, at_us: int | None, heard: int) -> None:
        """The first schedule is due at ``at_us``; None for never."""
        first = _NEVER if at_us is None else at_us
        self._first[partition] = first if heard == self.heard else min(first, self._first.get(partition, _NEVER))

    def moved(self, partition: Partition) -> None:
        """The partition is closed."""
        self._first.pop(partition, None)
        self._next_check_us = _UNKNOWN

    def due(self) -> list[Partition]:
        """The partitions in which something may be due, the longest due first."""
        now_us = self._runner.now_us()
        return sorted((one for one, at_us in self._first.items() if at_us <= now_us), key=self._first.__getitem__)

    def first_besides(self, partitions: Collection[Partition]) -> int | None:
        """When something may be due in other partitions than these; None for never."""
        first = min((at_us for one, at_us in self._first.items() if one not in partitions), default=_NEVER)
        return None if first == _NEVER else first

    def report(self) -> None:
        """Tell the watcher when to look for schedules that are due."""
        watcher, first_us = self._notifications.watcher, self.first_besides(())
        if watcher is not None and self.list_is_due:
            watcher.schedules_due(self._runner.now_us())
        if watcher is not None and first_us is not None:
            watcher.schedules_due(first_us)
