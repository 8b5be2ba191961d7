"""Removes dead letters that have outlived their retention."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import MINUTE
from duebus_server.domain.errors import DispatcherNotWorking, PartitionsChanging
from duebus_server.engine.redis.partition import Partition, partitions_of
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.domain.administration import TopicChanges
    from duebus_server.domain.views import TopicConfig
    from duebus_server.engine.redis.admin.topic_index import TopicIndex
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

EXPIRE_DEAD_LETTERS = Script("expire_dead_letters")

RETRY_US = MINUTE
"""How long until a topic that Redis can't work on is tried again."""


class Retention:
    """Knows when each topic next has dead letters to remove, so that a sweep does not ask all topics.

    A topic is checked again when its settings change, and all topics are when a notification may have been lost.
    """

    def __init__(self, runner: Runner, topic_index: TopicIndex, defaults: TopicConfig) -> None:
        self._runner = runner
        self._topic_index = topic_index
        self._defaults = defaults
        self._next_us: dict[Partition, int] = {}
        self._next_round_us: int | None = 0

    @property
    def dedupe_window_us(self) -> int:
        """The dedupe window of topics that do not set their own."""
        return self._defaults.dedupe_window_us

    async def before(self, topic: str, changes: TopicChanges) -> None:
        """Note a topic that may get its own retention, so that every replica finds it when it starts.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        if changes.dead_letter_retention_us:
            await self._runner.add(self._runner.keys.retention, topic, topic)

    async def after(self, partition: Partition, changes: TopicChanges) -> None:
        """Note it again, in case the note was deleted with the topic meanwhile. Raises as ``before``."""
        await self.before(partition.topic, changes)
        self.changed(partition)

    async def after_deletion(self, topic: str) -> None:
        """Forget a topic that is gone.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        async with asking(topic):
            await self._runner.connection.redis.srem(self._runner.keys.retention, topic)

    def changed(self, partition: Partition) -> None:
        """The partition's settings may have changed."""
        self._next_us[partition] = 0

    def anything_may_have_changed(self) -> None:
        """Notifications of changes may have been lost."""
        self._next_round_us = 0

    async def sweep(self) -> None:
        """Remove what has outlived its retention.

        Raises:
            DispatcherNotWorking: Redis can't be reached.
        """
        now_us = self._runner.now_us()
        if self._next_round_us is not None and now_us >= self._next_round_us:
            await self._begin_round(now_us)
        for partition in [partition for partition, at_us in self._next_us.items() if at_us <= now_us]:
            del self._next_us[partition]
            try:
                await self._sweep_partition(partition)
            except PartitionsChanging:
                await self._sweep_topic(partition)

    async def _begin_round(self, now_us: int) -> None:
        """Check all topics again."""
        # Dead letters of a topic created from now on do not outlive their retention before the next check.
        retention_us = self._defaults.dead_letter_retention_us
        self._next_round_us = now_us + retention_us if retention_us else None
        try:
            self._next_us = dict.fromkeys(map(Partition, await self._topics()), 0)
        except BaseException:
            self._next_round_us = 0
            raise

    async def _topics(self) -> Iterable[str]:
        """The topics that may have a retention."""
        if self._defaults.dead_letter_retention_us:
            return await self._topic_index.names()
        async with asking(""):
            names = await self._runner.connection.redis.smembers(self._runner.keys.retention)
        return [name.decode(errors="replace") for name in names]

    async def _sweep_topic(self, closed: Partition) -> None:
        """A topic does not have this partition: check those that it has, if it was assumed to have only one."""
        count = await self._topic_index.partition_count(closed.topic) if closed.count == 1 else None
        with suppress(PartitionsChanging):  # if its partitions change again, all topics are checked anyway
            for partition in partitions_of(closed.topic, count or 0):
                await self._sweep_partition(partition)

    async def _sweep_partition(self, partition: Partition) -> None:
        """Remove what has outlived its retention in a partition, and note when there may be more.

        Raises:
            PartitionsChanging: the topic does not have this partition.
        """
        config = self._defaults
        own = (config.dead_letter_retention_us, config.dedupe_window_us)
        try:
            next_us = int(await self._runner.run(EXPIRE_DEAD_LETTERS, partition, *own))
        except PartitionsChanging:
            raise
        except DispatcherNotWorking as error:
            if is_lost(error.__cause__):
                raise
            log.warning("partition skipped", partition=str(partition), error=str(error))
            next_us = self._runner.now_us() + RETRY_US
        if next_us >= 0:
            self._next_us.setdefault(partition, next_us)  # a change that was reported meanwhile takes precedence
