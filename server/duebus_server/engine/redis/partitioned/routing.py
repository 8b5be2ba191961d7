"""Turns a verb on a topic into verbs on its partitions, and goes on when their number has changed meanwhile."""

from __future__ import annotations

from asyncio import Lock
from typing import TYPE_CHECKING, TypeVar

from duebus_server.domain.errors import Moved, NotFound
from duebus_server.domain.model import SubscriberInfo
from duebus_server.engine.redis.partitioned.partitions import all_of, topic_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.partitioned.partition_count import Partitioning
    from duebus_server.engine.redis.replicas.sessions import LocalSession

T = TypeVar("T")

ATTEMPTS = 3
"""How many times a verb is tried when the topic's number of partitions has changed."""


class Routing:
    """Finds the partitions of topics.

    Args:
        engine: joins the partitions to which sessions follow their topic.
        partitioning: knows how many partitions each topic has.
    """

    def __init__(self, engine: RedisEngine, partitioning: Partitioning) -> None:
        self._engine = engine
        self._partitioning = partitioning
        self._following = Lock()

    def names(self, topic: str) -> list[str]:
        """The partitions of a topic, as far as this replica knows."""
        return self._partitioning.names(topic)

    async def routed(
        self,
        topic: str,
        verb: Callable[[list[str]], Awaitable[T]],
        session: tuple[str, str] | None = None,
    ) -> T:
        """Do something on the partitions of a topic.

        Args:
            topic: whose partitions.
            verb: what to do; it is done again when the topic turns out to have other partitions.
            session: group and session id for which it is done.
        """
        for _ in range(ATTEMPTS):
            names = self._partitioning.names(topic)
            try:
                return await verb(names)
            except Moved:
                await self.follow(topic, names, session)
        raise Moved(topic)

    async def each(self, topic: str, verb: Callable[[str], Awaitable[T]]) -> list[T]:
        """Do the same in each partition."""

        async def in_each(names: list[str]) -> list[T]:
            if len(names) == 1:
                return [await verb(topic)]
            return await all_of([verb(name) for name in names])

        return await self.routed(topic, in_each)

    async def refresh(self, topic: str) -> None:
        """Ask Redis how many partitions a topic has, and take its sessions there."""
        names = self._partitioning.names(topic)
        if await self._partitioning.refresh(topic) != len(names):
            await self.follow(topic, names)

    async def change(self, topic: str, count: int) -> None:
        """Give a topic another number of partitions.

        Raises:
            InvalidArgument: it holds events; nothing was changed.
        """
        async with self._following:
            await self._partitioning.change(topic, count)
            await self._take_sessions_along(topic)

    async def follow(self, topic: str, names: list[str], session: tuple[str, str] | None = None) -> None:
        """A topic has not these partitions: find out which it has, and take its sessions there.

        Raises:
            NotFound: the group of ``session`` was deleted.
        """
        async with self._following:
            is_news = self._partitioning.names(topic) != names
            if not is_news and await self._partitioning.refresh(topic) == len(names) > 1:
                await self._partitioning.mend(topic)
            await self._take_sessions_along(topic)
        there = self._partitioning.names(topic)
        if session is not None and there != names and self._engine.news.sessions.find(there[0], *session) is None:
            raise NotFound("group", session[0], topic=topic)

    async def settled(self) -> None:
        """Return when no session is on its way to other partitions."""
        if self._following.locked():
            async with self._following:
                pass

    async def _take_sessions_along(self, topic: str) -> None:
        """Sessions leave the partitions that a topic no longer has, and join those that it has."""
        there: Sequence[str] = self._partitioning.names(topic)
        for old in self._engine.news.sessions.elsewhere(topic, there):
            if not old.is_over and not await self._is_deleted(old, there[0]):
                subscriber = SubscriberInfo(old.session_id, old.consumer, self._engine.now_us())
                for name in there:
                    await self._engine.join(name, old.group, subscriber)
            self._engine.news.sessions.forget(old)

    async def _is_deleted(self, old: LocalSession, first: str) -> bool:
        """Whether the group of a session was deleted, and this replica has not heard of it."""
        if await self._partitioning.has_group(first, old.group) or not await self._engine.members.was_deleted(old):
            return False
        self._engine.news.deleted(topic_of(old.topic), old.group, self._engine.now_us())
        return True
