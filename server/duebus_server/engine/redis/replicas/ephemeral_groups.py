"""Removes ephemeral groups whose last session has left. They are noted in Redis, so any replica can do it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, NotFound, PartitionsChanging
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.engine.redis.admin.deletion import Deletions
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

DUE, NOTE = map(Script, ("ephemeral_due", "note_ephemeral"))

CHECK_EVERY_US = 5 * SECOND
"""How often a replica checks for groups that others have noted, in microseconds."""

AT_ONCE = 100
"""The most groups that one sweep checks, so that it does not hold up other work for long."""

RETURN_US = 5 * SECOND
"""How long sessions have to rejoin their groups after the server starts or their topic's partition count changes, in
microseconds."""


class EphemeralGroups:
    """Removes ephemeral groups.

    Args:
        runner: runs scripts.
        deletions: deletes groups.

    Raises, in all methods:
        DispatcherNotWorking: Redis can't be reached or refuses the command.
    """

    def __init__(self, runner: Runner, deletions: Deletions) -> None:
        self._runner = runner
        self._deletions = deletions
        self._next_check_us = 0

    async def started(self) -> None:
        """Give subscribers time to come back, because this may be the first server after an outage."""
        await self._due(0, RETURN_US)

    async def check_at(self, groups: Iterable[tuple[Partition, str]], at_us: int) -> None:
        """Have a sweep check groups, at this time or soon after."""
        self._next_check_us = min(self._next_check_us, at_us)
        for partition, group in groups:
            await self._note(f"{partition}/{group}", at_us)

    async def check_later(self, groups: Iterable[tuple[Partition, str]]) -> None:
        """Have a sweep check groups once their sessions have had time to rejoin."""
        await self.check_at(groups, self._runner.now_us() + RETURN_US)

    async def remove(self) -> None:
        """Remove the groups whose time has come. Other replicas' notes are read every five seconds."""
        if self._runner.now_us() < self._next_check_us:
            return
        due, following = await self._due(AT_ONCE, 0)
        now_us = self._runner.now_us()
        is_all = len(due) < 2 * AT_ONCE  # a name and a time for each
        self._next_check_us = min([now_us + CHECK_EVERY_US, *map(int, following[1:])]) if is_all else now_us
        for member, score in zip(due[::2], due[1::2], strict=True):
            name = member.decode(errors="replace")
            partition, _, group = name.rpartition("/")
            again_us = await self._remove_if_over(Partition.read(partition), group)
            if again_us is None:
                await self._note(name, "", int(score))
            else:
                self._next_check_us = min(self._next_check_us, again_us)
                await self._note(name, again_us)

    async def _remove_if_over(self, partition: Partition, group: str) -> int | None:
        """Remove a group if its time has come. Returns when to check again, or None if that is not needed."""
        again_us = self._runner.now_us() + CHECK_EVERY_US
        try:
            return await self._deletions.ephemeral_group(partition, group)
        except NotFound:
            return None
        except PartitionsChanging:  # the partition is closed; it is opened again if the topic turns out to hold events
            async with asking(partition.topic):
                groups = self._runner.keys.topic(partition, "groups")
                return again_us if await self._runner.connection.redis.hexists(groups, group) else None
        except DispatcherNotWorking as error:
            if is_lost(error.__cause__):
                raise
            log.warning("group skipped", partition=str(partition), group=group, error=str(error))
            return again_us

    async def _due(self, limit: int, put_off_us: int) -> tuple[list[bytes], list[bytes]]:
        due, following = await self._runner.run_on([self._runner.keys.ephemeral], DUE, "", limit, put_off_us)
        return due, following

    async def _note(self, name: str, at_us: int | str, known_us: int = 0) -> None:
        await self._runner.run_on([self._runner.keys.ephemeral], NOTE, "", name, at_us, known_us)
