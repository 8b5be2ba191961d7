"""Runs a verb on a topic as verbs on its partitions, and retries it when their number has changed."""

from __future__ import annotations

from asyncio import Lock
from typing import TYPE_CHECKING, Protocol, TypeVar

from duebus_server.domain.errors import NotFound, PartitionsChanging
from duebus_server.domain.model import SubscriberInfo
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.tasks import all_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.partitioned.partition_count import Partitioning
    from duebus_server.engine.redis.replicas.sessions import LocalSession

T = TypeVar("T")


class Join(Protocol):
    """Subscribes a session to a partition, as ``RedisEngine.join`` does."""

    async def __call__(
        self, partition: Partition, group: str, subscriber: SubscriberInfo, *, existing: bool = False
    ) -> bool:
        """Return whether it has joined."""


ATTEMPTS = 3
"""How many times a verb is tried when the topic's number of partitions has changed."""


class Routing:
    """Finds the partitions of topics.

    Args:
        engine: knows the sessions of this replica.
        partitioning: knows how many partitions each topic has.
        join: subscribes sessions to the new partitions of their topic.
    """

    def __init__(
        self,
        engine: RedisEngine,
        partitioning: Partitioning,
        join: Join,
    ) -> None:
        self._engine = engine
        self._partitioning = partitioning
        self._join = join
        self._following = Lock()

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic, as far as this replica knows."""
        return self._partitioning.partitions(topic)

    async def routed(
        self,
        topic: str,
        verb: Callable[[list[Partition]], Awaitable[T]],
        session: tuple[str, str] | None = None,
    ) -> T:
        """Run a verb on the partitions of a topic.

        Args:
            topic: the topic.
            verb: retried when the topic turns out to have other partitions.
            session: group and id of the session that it is for, if any.
        """
        for _ in range(ATTEMPTS):
            partitions = self._partitioning.partitions(topic)
            try:
                return await verb(partitions)
            except PartitionsChanging:
                await self.follow(topic, partitions, session)
            except NotFound:  # perhaps its session was moved meanwhile
                if self._partitioning.partitions(topic) == partitions:
                    raise
        raise PartitionsChanging(topic)

    async def each(self, topic: str, verb: Callable[[Partition], Awaitable[T]]) -> list[T]:
        """Run a verb on each partition."""

        async def in_each(partitions: list[Partition]) -> list[T]:
            if len(partitions) == 1:
                return [await verb(partitions[0])]
            return await all_of([verb(partition) for partition in partitions])

        return await self.routed(topic, in_each)

    async def refresh(self, topic: str) -> None:
        """Ask Redis which partitions a topic has, and move its sessions there."""
        async with self._following:
            await self._catch_up(topic)

    async def change(self, topic: str, count: int) -> None:
        """Give a topic another number of partitions.

        Raises:
            InvalidArgument: it holds events; nothing was changed.
        """
        async with self._following:
            await self._partitioning.change(topic, count)
            await self._catch_up(topic)

    async def follow(self, topic: str, partitions: list[Partition], session: tuple[str, str] | None = None) -> None:
        """A topic no longer has these partitions: find out which it has, and move its sessions there.

        Raises:
            NotFound: the group of ``session`` was deleted.
        """
        async with self._following:
            if self._partitioning.partitions(topic) != partitions:  # found out meanwhile
                await self._move_sessions(topic, self._partitioning.partitions(topic))
            elif await self._catch_up(topic) == partitions and len(partitions) > 1:
                await self._partitioning.reopen(topic)
        current = self._partitioning.partitions(topic)
        if (
            session is not None
            and current != partitions
            and self._engine.notifications.sessions.find(current[0], *session) is None
        ):
            raise NotFound("group", session[0], topic=topic)

    async def settled(self) -> None:
        """Return when no session is being moved to other partitions."""
        if self._following.locked():
            async with self._following:
                pass

    async def _catch_up(self, topic: str) -> list[Partition]:
        """The partitions of a topic, read from Redis; its sessions are moved there."""
        partitions = await self._partitioning.read(topic)
        await self._move_sessions(topic, partitions)
        return partitions

    async def _move_sessions(self, topic: str, partitions: list[Partition]) -> None:
        """Move the sessions of a topic from other partitions to these, and use these from now on.

        Until all of them have joined, the others stay as they are: if a join fails, the next attempt moves them.
        """
        outdated = self._engine.notifications.sessions.in_other_partitions(topic, partitions)
        for old in outdated:
            if not old.is_over and not await self._join_all(old, partitions):
                at_us = old.joined_us or self._engine.now_us()
                self._engine.notifications.deleted(Partition(topic), old.group, at_us)
        self._partitioning.know(topic, partitions)
        for old in outdated:
            self._engine.notifications.sessions.forget(old)

    async def _join_all(self, old: LocalSession, partitions: Sequence[Partition]) -> bool:
        """Join a session to these partitions. Returns False if its group was deleted, which this replica may have
        missed.
        """
        has_group = await self._partitioning.has_group(partitions[0], old.group)
        if not has_group and await self._engine.members.was_deleted(old):
            return False
        now_us = self._engine.now_us()
        subscriber = SubscriberInfo(old.session_id, old.consumer, now_us, ephemeral_us=old.ephemeral_us)
        for partition in partitions:
            if not await self._join(partition, old.group, subscriber, existing=has_group):
                return False
        return True
