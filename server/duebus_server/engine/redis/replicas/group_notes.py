"""The groups in which this replica has sessions, noted in Redis: by that the others find their leases if it dies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.engine.redis.transport.errors import asking

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.transport.runner import Runner

NOTES_AT_ONCE = 1_000


class GroupNotes:
    """The notes of one replica.

    Raises, in all methods:
        DispatcherNotWorking: Redis is away, or refuses.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def add(self, groups: Iterable[tuple[Partition, str]]) -> None:
        """Note groups before a session joins them."""
        key = self._runner.keys.replica_groups(self._runner.replica)
        names = [f"{partition}/{group}" for partition, group in groups]
        for first in range(0, len(names), NOTES_AT_ONCE):
            await self._runner.add(key, "", *names[first : first + NOTES_AT_ONCE])

    async def has(self, partition: Partition, group: str) -> bool:
        """Whether Redis still has the note of a group."""
        key = self._runner.keys.replica_groups(self._runner.replica)
        async with asking(partition.topic):
            return bool(await self._runner.connection.redis.sismember(key, f"{partition}/{group}"))
