"""Finds what notifications should have reported, in case one was lost."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

import structlog

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

T = TypeVar("T")

PEEK, HELD = map(Script, ("peek", "held"))

Group = tuple["Partition", str]
"""A group in a partition."""

Members = Mapping[Group, Sequence["LocalSession"]]
"""The sessions of this replica, by group."""

_NO_GROUP, _CLOSED = -2, -3
"""As in ``peek.lua``: there is no such group; its partition is closed."""

IDLE_AT_ONCE = 20
"""How many groups without leases a sweep checks. Nothing is expected there: only a cluster can lose the message that
something is due, and only when the connection between two of its nodes breaks."""

CHECKED_AT_ONCE = 100
"""How many groups one command checks. That takes Redis about a millisecond."""

PARTITIONS_AT_ONCE, AT_THE_SAME_TIME = 50, 8
"""How many partitions a sweep checks on a cluster, with one command each, and how many of them at the same time."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a sweep has found.

    Attributes:
        leasable: groups that have something to lease now.
        miscounted: sessions that know another number of leases than Redis does: they may have missed the end of one.
        without_group: sessions that had joined before the check, but whose group does not exist.
        closed: groups in closed partitions: the topic's partition count has changed.
        doubtful: partitions of which Redis may have lost a key.
    """

    leasable: list[Group]
    miscounted: list[LocalSession]
    without_group: list[LocalSession]
    closed: list[Group]
    doubtful: set[Partition]


class RoundRobin:
    """Takes turns among things of which a sweep checks only a few.

    Args:
        at_once: how many at a time.
    """

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._next = 0

    def next(self, things: Sequence[T]) -> Sequence[T]:
        """Those whose turn it is; all of them if they fit into one turn."""
        if len(things) <= self._at_once:
            return things
        first = self._next % len(things)
        self._next = first + self._at_once
        return [*things[first:], *things[:first]][: self._at_once]


class Sweeping:
    """What one replica checks in every sweep."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._busy, self._idle = RoundRobin(PARTITIONS_AT_ONCE), RoundRobin(IDLE_AT_ONCE)

    async def check(self, sessions: Iterable[LocalSession]) -> Found:
        """Check the groups of these sessions.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        members: dict[Group, list[LocalSession]] = defaultdict(list)
        joined: dict[Group, list[LocalSession]] = defaultdict(list)
        for session in sessions:
            group = (session.partition, session.group)
            members[group].append(session)
            if session.stage is Stage.JOINED:
                joined[group].append(session)
        found = Found([], [], [], [], set())
        holders = self._holders(members)
        seen = await self._peek_all(holders)
        self._runner.unanswered &= {partition for partition, _ in holders.keys() - seen.keys()}
        for group, (leasable, is_doubtful, *held) in seen.items():
            if leasable > 0:
                found.leasable.append(group)
            elif leasable == _NO_GROUP:
                found.without_group.extend(joined[group])
            elif leasable == _CLOSED:
                found.closed.append(group)
                continue
            if is_doubtful > 0:
                found.doubtful.add(group[0])
            found.miscounted.extend(
                one for one, count in zip(holders[group], held, strict=True) if count != len(one.held)
            )
        return found

    async def lost(self, session: LocalSession) -> list[int]:
        """Fencing tokens of the leases that a session believes it holds but does not.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        leases = session.leases()
        results = await self._runner.run(HELD, session.partition, session.group, *named(leases))
        return [lease.fencing_token for lease, result in zip(leases, results, strict=True) if result < 0]

    def _holders(self, members: Members) -> Members:
        """The groups to check, with their sessions that hold leases.

        These are all groups with leases or in a partition with an unanswered command, and a few of the others in turn,
        so that idle groups cost almost nothing.
        """
        holders = {group: [one for one in sessions if one.held] for group, sessions in members.items()}
        idle = [group for group, holding in holders.items() if not holding and group[0] not in self._runner.unanswered]
        left_out = set(idle).difference(self._idle.next(idle))
        return {group: holding for group, holding in holders.items() if group not in left_out}

    async def _peek_all(self, holders: Members) -> dict[Group, list[int]]:
        """What ``peek.lua`` reports for each group.

        On a cluster each command covers one partition, because other partitions' keys are in other slots. If there are
        many partitions, some wait for the next sweep.
        """
        if self._runner.connection.checks_keys:
            return await self._peek_each(holders)
        seen: dict[Group, list[int]] = {}
        groups = list(holders)
        for first in range(0, len(groups), CHECKED_AT_ONCE):
            some = groups[first : first + CHECKED_AT_ONCE]
            seen |= await self._peek([self._runner.keys.topic(some[0][0], "events")], some, holders)
        return seen

    async def _peek_each(self, holders: Members) -> dict[Group, list[int]]:
        by_partition: dict[Partition, list[str]] = defaultdict(list)
        for partition, group in holders:
            by_partition[partition].append(group)
        seen: dict[Group, list[int]] = {}
        limit = asyncio.Semaphore(AT_THE_SAME_TIME)

        async def peek_at(partition: Partition) -> None:
            groups = [(partition, group) for group in by_partition[partition]]
            keys = self._runner.keys.of_topic(partition, by_partition[partition])
            async with limit:
                try:
                    seen.update(await self._peek(keys, groups, holders))
                except DispatcherNotWorking as error:
                    if is_lost(error.__cause__):
                        raise
                    log.warning("partition skipped", partition=str(partition), error=str(error))

        await all_of(peek_at(partition) for partition in self._busy.next(list(by_partition)))
        return seen

    async def _peek(self, keys: list[str], groups: list[Group], holders: Members) -> dict[Group, list[int]]:
        flat: list[str | int] = []
        for partition, group in groups:
            names = [session.name for session in holders[partition, group]]
            flat += (self._runner.keys.topic_prefix(partition), group, len(names), *names)
        answer = iter(await self._runner.run_on(keys, PEEK, "", *flat))
        return {group: list(islice(answer, 2 + len(holders[group]))) for group in groups}
