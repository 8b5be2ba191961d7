"""Finds what notifications should have told, in case one was lost."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.codec.leases import named
from duebus_server.engine.redis.replicas.sessions import Stage
from duebus_server.engine.redis.tasks import all_of
from duebus_server.engine.redis.transport.errors import is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.replicas.sessions import LocalSession
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

PEEK, HELD = map(Script, ("peek", "held"))

Group = tuple["Partition", str]
"""A group in a partition."""

Holders = Mapping[Group, Sequence["LocalSession"]]
"""The sessions of this replica that hold leases, by group."""

_FIGURES, _NO_GROUP, _CLOSED = 2, -2, -3
"""How many figures `peek.lua` gives of a group beside one a session; that there is no such group; that it is in a
partition that is closed."""

TOPICS_AT_ONCE, AT_THE_SAME_TIME = 50, 8
"""How many topics of a cluster are looked at in a sweep, and how many of them together."""

STALE_US = 3 * SECOND
"""How long a count of ready events is used before they are counted again, in microseconds."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found.

    Attributes:
        leasable: groups that have something to lease now.
        unsure: sessions that hold another number of leases than they know of: they may not have been told of an end.
        astray: sessions whose group is not there (any more), although Redis was told of them before the look.
        moved: groups in which nothing is to be had any more, because the topic has other partitions.
    """

    leasable: list[Group]
    unsure: list[LocalSession]
    astray: list[LocalSession]
    moved: list[Group]


class Sweeping:
    """What one replica looks for at every sweep."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._backlogs: dict[Group, tuple[int, int]] = {}
        """How many events were ready, and when that was counted, in microseconds."""
        self._turn = 0

    async def look(self, sessions: Iterable[LocalSession]) -> Found:
        """What there is to do in the groups of these sessions.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        by_group: dict[Group, list[LocalSession]] = {}
        joined: dict[Group, list[LocalSession]] = defaultdict(list)
        for session in sessions:
            group = (session.partition, session.group)
            holders = by_group.setdefault(group, [])
            if session.held:
                holders.append(session)
            if session.stage is Stage.JOINED:
                joined[group].append(session)
        found = Found([], [], [], [])
        seen = await self._peek_all(by_group)
        self._backlogs = {group: counted for group, counted in self._backlogs.items() if group in by_group}
        for group, (leasable, ready, *held) in seen.items():
            self._backlogs[group] = max(0, ready), self._runner.now_us()
            if leasable > 0:
                found.leasable.append(group)
            elif leasable == _NO_GROUP:
                found.astray.extend(joined[group])
            elif leasable == _CLOSED:
                found.moved.append(group)
                continue
            found.unsure.extend(one for one, count in zip(by_group[group], held, strict=True) if count != len(one.held))
        return found

    async def lost(self, session: LocalSession) -> list[int]:
        """Fencing tokens of leases that a session believes to hold, and does not.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        leases = session.leases()
        results = await self._runner.run(HELD, session.partition, session.group, *named(leases))
        return [lease.fencing_token for lease, result in zip(leases, results, strict=True) if result < 0]

    def backlog(self, partition: Partition, group: str) -> int | None:
        """How many events were ready at the last look, unless that was too long ago."""
        ready, counted_us = self._backlogs.get((partition, group), (0, 0))
        return ready if self._runner.now_us() - counted_us <= STALE_US else None

    async def _peek_all(self, holders: Holders) -> dict[Group, list[int]]:
        """What ``peek.lua`` says of each group, in one command.

        Of a cluster each command is for one topic, because the keys of others are in other slots; those whose turn it
        is not are left out.
        """
        runner = self._runner
        if not holders:
            return {}
        if not runner.connection.checks_keys:
            groups = list(holders)
            return await self._peek([runner.keys.topic(groups[0][0], "events")], groups, holders)
        by_partition: dict[Partition, list[str]] = defaultdict(list)
        for partition, group in holders:
            by_partition[partition].append(group)
        seen: dict[Group, list[int]] = {}
        limit = asyncio.Semaphore(AT_THE_SAME_TIME)

        async def peek_at(partition: Partition) -> None:
            groups = [(partition, group) for group in by_partition[partition]]
            async with limit:
                try:
                    seen.update(
                        await self._peek(runner.keys.of_topic(partition, by_partition[partition]), groups, holders)
                    )
                except DispatcherNotWorking as error:
                    if is_lost(error.__cause__):
                        raise
                    log.warning("partition passed over", partition=str(partition), error=str(error))

        await all_of(peek_at(partition) for partition in self._next(list(by_partition)))
        return seen

    def _next(self, partitions: list[Partition]) -> list[Partition]:
        """The topics whose turn it is."""
        first = self._turn % len(partitions)
        self._turn += TOPICS_AT_ONCE
        return [*partitions[first:], *partitions[:first]][:TOPICS_AT_ONCE]

    async def _peek(self, keys: list[str], groups: list[Group], holders: Holders) -> dict[Group, list[int]]:
        flat: list[str | int] = []
        for partition, group in groups:
            names = [session.name for session in holders[partition, group]]
            flat += (self._runner.keys.topic_prefix(partition), group, len(names), *names)
        answer = iter(await self._runner.run_on(keys, PEEK, "", *flat))
        return {group: list(islice(answer, _FIGURES + len(holders[group]))) for group in groups}
