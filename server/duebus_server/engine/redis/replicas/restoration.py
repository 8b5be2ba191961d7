"""Puts events back whose place in a group Redis has lost, for example when it evicted a key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import MINUTE
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.replicas.notifications import Notifications
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

RESTORE = Script("restore").whole

PARTITIONS_AT_ONCE, STEPS_AT_ONCE = 5, 50
"""How many partitions a sweep checks, and how many steps it makes in each."""

PAUSE_US = MINUTE
"""How long until a partition in which all events were checked is checked again, in microseconds."""

_BEGIN, _END, _NOT_NEEDED = b"0", b"0", b""
"""Cursors, as in ``restore.lua``."""


@dataclass(slots=True)
class Scan:
    """The progress of the check of a partition.

    Attributes:
        has_found: whether it has found an event without a place.
    """

    cursor: bytes = _BEGIN
    has_found: bool = False


class Restoration:
    """Checks partitions of which Redis may have lost a key.

    Args:
        runner: runs the script.
        notifications: called with what is due again.
        lease_us: the server's lease, in microseconds.
    """

    def __init__(self, runner: Runner, notifications: Notifications, lease_us: int) -> None:
        self._runner = runner
        self._notifications = notifications
        self._lease_us = lease_us
        self._scans: dict[Partition, Scan] = {}
        self._paused_until_us: dict[Partition, int] = {}

    def next(self, doubtful: Iterable[Partition]) -> list[Partition]:
        """The partitions to check now. Those that a sweep has begun with come first."""
        now_us = self._runner.now_us()
        self._paused_until_us = {one: at_us for one, at_us in self._paused_until_us.items() if at_us > now_us}
        found = [one for one in doubtful if one not in self._paused_until_us and one not in self._scans]
        return [*self._scans, *found][:PARTITIONS_AT_ONCE]

    async def check(self, partition: Partition) -> None:
        """Check some events of a partition. The next sweep continues; after an error it begins again.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        scan = self._scans.pop(partition, Scan())
        waiting, leased = 0, 0
        changed: set[str] = set()
        for _ in range(STEPS_AT_ONCE):
            step = await self._runner.run(RESTORE, partition, self._lease_us, scan.cursor)
            now, dead, scan.cursor, more_waiting, more_leased, groups = step
            self._notifications.answered(now, dead)
            waiting, leased = waiting + more_waiting, leased + more_leased
            changed.update(group.decode(errors="replace") for group in groups)
            if scan.cursor in (_END, _NOT_NEEDED):
                break
        scan.has_found |= bool(changed)
        if changed:
            self._tell(partition, sorted(changed), waiting, leased)
        if scan.cursor == _END and not scan.has_found:
            self._paused_until_us[partition] = self._runner.now_us() + PAUSE_US
        elif scan.cursor not in (_END, _NOT_NEEDED):
            self._scans[partition] = scan

    def _tell(self, partition: Partition, groups: list[str], waiting: int, leased: int) -> None:
        log.warning(
            "Redis had lost track of events; they are restored, or dead if their due time is lost",
            partition=str(partition),
            groups=groups,
            waiting=waiting,
            leased=leased,
        )
        for group in groups:
            self._notifications.due_now(partition, group)
            self._notifications.expiries.expects(partition, group, self._runner.now_us())
