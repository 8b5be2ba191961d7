"""The safety net for word that was lost, at a cost that does not grow with the number of groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.clock import SECOND
from duebus_server.engine.redis.errors import as_domain_errors
from duebus_server.engine.redis.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.runner import Runner

PEEK, PURGE = map(Script, ("peek", "purge"))

STALE_US = 3 * SECOND
"""A backlog that was counted longer ago is counted again."""


class Sweeping:
    """What one replica looks after at every sweep."""

    def __init__(self, runner: Runner, defaults: TopicConfig) -> None:
        self._runner = runner
        self._defaults = defaults
        self._backlogs: dict[tuple[str, str], int] = {}
        self._counted_us = 0
        self._next_purge_us = 0

    async def look(self, groups: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
        """Which of the groups have something to lease now.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        looked_into = list(groups)
        if not looked_into:
            return []
        runner = self._runner
        if runner.connection.is_cluster:  # the groups are on different nodes
            found = [value for topic, group in looked_into for value in await self._peek([(topic, group)])]
        else:
            found = await self._peek(looked_into)
        self._backlogs = dict(zip(looked_into, found[1::2], strict=True))
        self._counted_us = runner.now_us()
        return [group for group, leasable in zip(looked_into, found[::2], strict=True) if leasable]

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
        with as_domain_errors(""):
            topics = await self._runner.connection.redis.smembers(self._runner.keys.topics)
        window_us = self._defaults.dedupe_window_us
        oldest = [int(await self._runner.run(PURGE, topic.decode(), retention_us, window_us)) for topic in topics]
        # What dies from now on is not to be purged before a retention has passed.
        self._next_purge_us = min([died_us for died_us in oldest if died_us >= 0], default=now_us) + retention_us

    async def _peek(self, groups: list[tuple[str, str]]) -> list[int]:
        keys = self._runner.keys
        flat = [part for topic, group in groups for part in (keys.topic_prefix(topic), group)]
        first_topic = groups[0][0]
        found: list[int] = await self._runner.run(PEEK, first_topic, *flat)
        return found
