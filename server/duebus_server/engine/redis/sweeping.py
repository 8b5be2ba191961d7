"""The safety net for word that was lost, at a cost that does not grow with the number of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND
from duebus_server.engine.redis.errors import asking
from duebus_server.engine.redis.leasing import pairs
from duebus_server.engine.redis.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.runner import Runner
    from duebus_server.engine.redis.subscribers import LocalSession

PEEK, HELD, PURGE = map(Script, ("peek", "held", "purge"))

Group = tuple[str, str]
"""Topic and group."""

STALE_US = 3 * SECOND
"""A backlog that was counted longer ago is counted again."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a look has found.

    Attributes:
        leasable: groups that have something to lease now.
        unsure: sessions that hold another number of leases than they know of; word of an end may have been lost.
    """

    leasable: list[Group]
    unsure: list[LocalSession]


class Sweeping:
    """What one replica looks after at every sweep."""

    def __init__(self, runner: Runner, defaults: TopicConfig) -> None:
        self._runner = runner
        self._defaults = defaults
        self._backlogs: dict[tuple[str, str], int] = {}
        self._counted_us = 0
        self._next_purge_us = 0

    async def look(self, sessions: Iterable[LocalSession]) -> Found:
        """What there is to do in the groups of these sessions.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        by_group: dict[Group, list[LocalSession]] = {}
        for session in sessions:
            holders = by_group.setdefault((session.topic, session.group), [])
            if session.held:
                holders.append(session)
        found = Found([], [])
        backlogs = {}
        for groups in self._at_once(by_group):
            answer = iter(await self._peek(groups, by_group))
            for group in groups:
                leasable, backlogs[group] = next(answer), next(answer)
                if leasable:
                    found.leasable.append(group)
                found.unsure.extend(one for one in by_group[group] if next(answer) != len(one.held))
        self._backlogs = backlogs
        self._counted_us = self._runner.now_us()
        return found

    async def lost(self, session: LocalSession) -> list[int]:
        """Fencing tokens of leases that a session believes to hold, and does not.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        leases = session.leases()
        results = await self._runner.run(HELD, session.topic, session.group, *pairs(leases))
        return [lease.fencing_token for lease, result in zip(leases, results, strict=True) if result < 0]

    def backlog(self, topic: str, group: str) -> int | None:
        """How many events were ready at the last look, unless that was too long ago."""
        if self._runner.now_us() - self._counted_us > STALE_US:
            return None
        return self._backlogs.get((topic, group))

    async def purge(self) -> None:
        """Remove dead letters that have outlived their retention.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        retention_us = self._defaults.dead_letter_retention_us
        now_us = self._runner.now_us()
        if not retention_us or now_us < self._next_purge_us:
            return
        async with asking(""):
            topics = await self._runner.connection.redis.smembers(self._runner.keys.topics)
        window_us = self._defaults.dedupe_window_us
        oldest = [int(await self._runner.run(PURGE, topic.decode(), retention_us, window_us)) for topic in topics]
        # What dies from now on is not to be purged before a retention has passed.
        self._next_purge_us = min([died_us for died_us in oldest if died_us >= 0], default=now_us) + retention_us

    def _at_once(self, groups: Iterable[Group]) -> Iterable[list[Group]]:
        """Groups that one command can look into: on a cluster they are on different nodes."""
        listed = list(groups)
        if self._runner.connection.is_cluster:
            return [[group] for group in listed]
        return [listed] if listed else []

    async def _peek(self, groups: list[Group], holders: Mapping[Group, Sequence[LocalSession]]) -> list[int]:
        flat: list[str | int] = []
        for topic, group in groups:
            names = [session.name for session in holders[topic, group]]
            flat += (self._runner.keys.topic_prefix(topic), group, len(names), *names)
        found: list[int] = await self._runner.run(PEEK, groups[0][0], *flat)
        return found
