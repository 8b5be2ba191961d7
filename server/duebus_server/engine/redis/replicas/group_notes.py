"""The groups in which this replica has sessions, noted in Redis so that others find its leases if it dies."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from duebus_server.engine.redis.transport.errors import asking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.transport.runner import Runner

NOTES_AT_ONCE = 1_000


class GroupNotes:
    """The notes of one replica.

    Raises, in all methods:
        DispatcherNotWorking: Redis can't be reached or refuses the command.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._changing = asyncio.Lock()  # so that a drop and an add reach Redis in this order

    async def add(self, groups: Iterable[tuple[Partition, str]]) -> None:
        """Note groups before a session joins them."""
        key = self._runner.keys.replica_groups(self._runner.replica)
        names = [f"{partition}/{group}" for partition, group in groups]
        async with self._changing:
            for first in range(0, len(names), NOTES_AT_ONCE):
                await self._runner.add(key, "", *names[first : first + NOTES_AT_ONCE])

    async def drop(self, partition: Partition, group: str, still_needed: Callable[[], bool]) -> None:
        """Drop the note of an ephemeral group. Otherwise the notes of past groups would pile up."""
        key = self._runner.keys.replica_groups(self._runner.replica)
        async with self._changing:
            if not still_needed():
                async with asking(partition.topic):
                    await self._runner.connection.redis.srem(key, f"{partition}/{group}")

    async def has(self, partition: Partition, group: str) -> bool:
        """Whether Redis still has the note of a group."""
        key = self._runner.keys.replica_groups(self._runner.replica)
        async with asking(partition.topic):
            return bool(await self._runner.connection.redis.sismember(key, f"{partition}/{group}"))
