"""The topics that are listed: those that hold events, or that were subscribed to or configured."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.errors import asking

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

EXISTENCE_KEYS = ("events", "recent", "groups", "config")
"""A topic without any of these keys does not exist; the same as in ``naming.lua``."""


class TopicIndex:
    """The bus's topics, by name.

    On a cluster the list and a topic may be on different nodes, so they can't change in one step. A topic is listed
    before anything can be in it, and listed again when a script finds that it was new.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._known: set[str] = set()

    async def before(self, topic: str) -> None:
        """List a topic before something is stored in it.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        if topic not in self._known:
            await self._runner.list_topic(topic)
            self._known.add(topic)

    async def is_new(self, topic: str) -> None:
        """List a new topic again: it may have been deleted since it was listed."""
        try:
            await self._runner.list_topic(topic)
        except DispatcherNotWorking as error:
            log.warning("a topic may not be listed until it is used again", topic=topic, error=str(error))
            self._known.discard(topic)

    async def after_deletion(self, topic: str) -> None:
        """Remove a deleted topic from the list, unless it was created again meanwhile.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        self._known.discard(topic)
        keys, redis = self._runner.keys, self._runner.connection.redis
        async with asking(topic):
            await redis.zrem(keys.topics, topic)
            recreated = await redis.exists(*(keys.topic(Partition(topic), name) for name in EXISTENCE_KEYS))
        if recreated:
            await self._runner.list_topic(topic)

    def forget(self) -> None:
        """Redis may have lost the list: topics are listed again."""
        self._known.clear()

    async def names(self) -> list[str]:
        """All listed topics.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        async with asking(""):
            return _decoded(await self._runner.connection.redis.zrange(self._runner.keys.topics, 0, -1))

    async def page(self, after: str, limit: int) -> list[str]:
        """The first topics by name that come after ``after``.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        first = f"({after}" if after else "-"
        async with asking(""):
            return _decoded(
                await self._runner.connection.redis.zrangebylex(self._runner.keys.topics, first, "+", 0, limit)
            )

    async def partition_count(self, topic: str) -> int | None:
        """How many partitions a topic has; None while that is being changed.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        async with asking(topic):
            text = await self._runner.connection.redis.hget(
                self._runner.keys.topic(Partition(topic), "config"), "partitions"
            )
        return 1 if text is None else int(text) if text.isdigit() else None


def _decoded(names: Iterable[bytes]) -> list[str]:
    return [name.decode(errors="replace") for name in names]
