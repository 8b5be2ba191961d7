"""The safety net for word that was lost, at a cost that does not grow with the number of groups."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND
from duebus_server.engine.redis.codec.leases import named
from duebus_server.engine.redis.replicas.sessions import Stage
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.engine.redis.replicas.sessions import LocalSession
    from duebus_server.engine.redis.transport.runner import Runner

PEEK, HELD = map(Script, ("peek", "held"))

Group = tuple[str, str]
"""Topic and group."""

Holders = Mapping[Group, Sequence["LocalSession"]]
"""The sessions of this replica that hold leases, by group."""

_FIGURES, _NOT_SEEN, _NO_GROUP, _CLOSED = 2, -1, -2, -3
"""What `peek.lua` says of a group, beside one figure a session; that it does not see it; that there is none; that it is
in a partition that is closed."""

STALE_US = 3 * SECOND
"""A backlog that was counted longer ago is counted again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found.

    Attributes:
        leasable: groups that have something to lease now.
        unsure: sessions that hold another number of leases than they know of; word of an end may have been lost.
        astray: sessions whose group is not there (any more), although Redis was told of them before the look.
        moved: groups in which nothing is to be had any more, because the topic has other partitions.
    """

    leasable: list[Group]
    unsure: list[LocalSession]
    astray: list[LocalSession]
    moved: list[Group]


class Sweeping:
    """What one replica looks after at every sweep."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._backlogs: dict[tuple[str, str], int] = {}
        self._counted_us = 0

    async def look(self, sessions: Iterable[LocalSession]) -> Found:
        """What there is to do in the groups of these sessions.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        by_group: dict[Group, list[LocalSession]] = {}
        joined: dict[Group, list[LocalSession]] = defaultdict(list)
        for session in sessions:
            group = (session.topic, session.group)
            holders = by_group.setdefault(group, [])
            if session.held:
                holders.append(session)
            if session.stage is Stage.JOINED:
                joined[group].append(session)
        found = Found([], [], [], [])
        backlogs = {}
        for group, (leasable, ready, *held) in (await self._peek_all(by_group)).items():
            backlogs[group] = max(0, ready)
            if leasable > 0:
                found.leasable.append(group)
            elif leasable == _NO_GROUP:
                found.astray.extend(joined[group])
            elif leasable == _CLOSED:
                found.moved.append(group)
                continue
            found.unsure.extend(one for one, count in zip(by_group[group], held, strict=True) if count != len(one.held))
        self._backlogs = backlogs
        self._counted_us = self._runner.now_us()
        return found

    async def lost(self, session: LocalSession) -> list[int]:
        """Fencing tokens of leases that a session believes to hold, and does not.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        leases = session.leases()
        results = await self._runner.run(HELD, session.topic, session.group, *named(leases))
        return [lease.fencing_token for lease, result in zip(leases, results, strict=True) if result < 0]

    def backlog(self, topic: str, group: str) -> int | None:
        """How many events were ready at the last look, unless that was too long ago."""
        if self._runner.now_us() - self._counted_us > STALE_US:
            return None
        return self._backlogs.get((topic, group))

    async def _peek_all(self, holders: Holders) -> dict[Group, list[int]]:
        """What `peek.lua` says of each group: one command a node, and one for each group that is on another by now."""
        connection, keys = self._runner.connection, self._runner.keys
        by_node: dict[str, list[Group]] = {}
        for topic, group in holders:
            by_node.setdefault(connection.node_of(keys.topic_prefix(topic)), []).append((topic, group))
        seen: dict[Group, list[int]] = {}
        for groups in by_node.values():
            seen.update(await self._peek(groups, holders))
        if connection.is_cluster:
            for moved in [group for group, figures in seen.items() if figures[0] == _NOT_SEEN]:
                seen.update(await self._peek([moved], holders))
        return seen

    async def _peek(self, groups: list[Group], holders: Holders) -> dict[Group, list[int]]:
        flat: list[str | int] = []
        for topic, group in groups:
            names = [session.name for session in holders[topic, group]]
            flat += (self._runner.keys.topic_prefix(topic), group, len(names), *names)
        first = self._runner.keys.topic(groups[0][0], "events")
        answer = iter(await self._runner.run_on(first, PEEK, "", *flat))
        return {group: list(islice(answer, _FIGURES + len(holders[group]))) for group in groups}
