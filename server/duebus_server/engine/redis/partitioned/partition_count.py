"""How many partitions each topic has, and how that number is changed.

The topic's own keys hold the number, and each partition's keys hold whether it is open. Every script checks this first
(``moved.lua``), so a replica that is wrong about the number is told so before anything has changed. ``DATA_MODEL.md``
describes the steps of a change, and what happens when one breaks off.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import InvalidArgument, Moved, NotFound
from duebus_server.engine.redis.partition import Partition, partitions_of
from duebus_server.engine.redis.transport.errors import asking
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.redis.admin.deletion import Deletions
    from duebus_server.engine.redis.admin.topic_index import TopicIndex
    from duebus_server.engine.redis.locks import Locks
    from duebus_server.engine.redis.transport.runner import Runner

BEGIN, CLOSE, DESCRIBE, OPEN, CLEAR, COMMIT, DELETE = map(
    Script,
    (
        "partitions_begin",
        "partition_close",
        "partition_describe",
        "partition_open",
        "partition_clear",
        "partitions_commit",
        "partitions_delete",
    ),
)

MEND = "mend"
"""In place of the number of partitions that a topic is to have."""

LOCK = "partitions"
LOCK_US = 60 * SECOND
WORKS_US = 20 * SECOND
"""How long a replica may make changes after it got the lock. Scripts refuse later ones by their node's clock. So no
command of this replica takes effect while another holds the lock, if the clocks of a cluster's nodes agree to half a
minute.
"""

_LATE, _HELD = b"late", b"held"
"""As in ``partitions.lua``."""


@dataclass(frozen=True, slots=True)
class _Change:
    """From how many partitions to how many, 0 to delete the topic, and until when this replica may work on it."""

    topic: str
    before: int
    after: int
    deadline_us: int

    @property
    def whole(self) -> Partition:
        """The topic itself: its keys hold how many partitions it has."""
        return Partition(self.topic)


class Partitioning:
    """The partitions of topics, as far as this replica knows, and how their number is changed.

    Args:
        runner: runs scripts.
        locks: of the bus; one replica at a time changes a number.
        listing: the topics that are listed.
        deleting: deletes single partitions.

    Raises, in all methods that run something:
        DispatcherNotWorking: Redis is away, or refuses; or another replica is changing a topic.
    """

    def __init__(self, runner: Runner, locks: Locks, topic_index: TopicIndex, deletions: Deletions) -> None:
        self._runner = runner
        self._locks = locks
        self._topic_index = topic_index
        self._deletions = deletions
        self._known: dict[str, list[Partition]] = {}  # of topics that have several

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic by number, as far as this replica knows."""
        return self._known.get(topic) or _the_only_one(topic)

    async def refresh(self, topic: str) -> int:
        """How many partitions a topic has, asked of Redis. Finishes a change that broke off."""
        text = await self._read(topic)
        if not text.isdigit():
            await self._under_lock(topic, "")
            text = await self._read(topic)
        if not text.isdigit():
            raise Moved(topic)
        self._believe(topic, int(text))
        return int(text)

    async def change(self, topic: str, count: int) -> None:
        """Give a topic this many partitions.

        Raises:
            InvalidArgument: it holds events; nothing was changed.
        """
        await self._topic_index.before(topic)
        await self._under_lock(topic, count)
        await self.refresh(topic)
        if len(self.partitions(topic)) != count:  # this finished a change that another replica had begun
            await self._under_lock(topic, count)
            await self.refresh(topic)

    async def mend(self, topic: str) -> None:
        """Reopen partitions that have lost all their keys, as a node of a cluster may."""
        await self._under_lock(topic, MEND)

    async def delete(self, topic: str) -> int:
        """Delete a topic of several partitions; how many events it held."""
        removed = await self._under_lock(topic, 0)
        self._believe(topic, 1)
        return removed

    async def has_group(self, partition: Partition, group: str) -> bool:
        """Whether a partition has a group."""
        async with asking(partition.topic):
            return bool(
                await self._runner.connection.redis.sismember(self._runner.keys.topic(partition, "groups"), group)
            )

    def _believe(self, topic: str, count: int) -> None:
        if count == 1:
            self._known.pop(topic, None)
        else:
            self._known[topic] = partitions_of(topic, count)

    async def _read(self, topic: str) -> str:
        async with asking(topic):
            text = await self._runner.connection.redis.hget(
                self._runner.keys.topic(Partition(topic), "config"), "partitions"
            )
        return (text or b"1").decode(errors="replace")

    async def _under_lock(self, topic: str, wanted: int | str) -> int:
        deadline_us = self._runner.now_us() + WORKS_US
        lock = await self._locks.acquire(LOCK, LOCK_US)
        if lock is None:
            raise Moved(topic)
        try:
            return await self._carry_out(topic, wanted, deadline_us)
        finally:
            await self._locks.release(lock)

    async def _carry_out(self, topic: str, wanted: int | str, deadline_us: int) -> int:
        reply = await self._run(BEGIN, Partition(topic), deadline_us, wanted)
        if reply == _HELD:
            raise _holds_events()
        before, after = reply
        change = _Change(topic, before, after, deadline_us)
        if change.after == 0:
            return await self._delete(change)
        if change.after != change.before:
            await self._spread(change)
        elif wanted == MEND and change.before > 1:
            await self._mend(change)
        return 0

    async def _mend(self, change: _Change) -> None:
        partitions = partitions_of(change.topic, change.before)
        settings, groups = await self._describe(change, partitions)
        for partition in partitions:
            config = self._runner.keys.topic(partition, "config")
            async with asking(change.topic):
                is_open = await self._runner.connection.redis.hexists(config, "partitions")
            if not is_open:
                await self._open(change, partition, settings, groups)

    async def _spread(self, change: _Change) -> None:
        before, after = partitions_of(change.topic, change.before), partitions_of(change.topic, change.after)
        if not await self._close(change, before):
            raise _holds_events()
        settings, groups = await self._describe(change, before)
        if change.after > 1:
            await self._runner.add(self._runner.keys.partitions, change.topic, *map(str, after))
            for partition in after:
                await self._open(change, partition, settings, groups)
            await self._run(COMMIT, change.whole, change.deadline_us, change.after)
        else:
            own = (1, *groups)
            await self._run(COMMIT, change.whole, change.deadline_us, *own, groups=_names(groups))
        await self._clear(change, before)

    async def _open(
        self, change: _Change, partition: Partition, settings: Sequence[Any], groups: Sequence[Any]
    ) -> None:
        own = (len(settings), *settings, *groups)
        await self._run(OPEN, partition, change.deadline_us, *own, groups=_names(groups))

    async def _close(self, change: _Change, partitions: Sequence[Partition]) -> bool:
        """Close all partitions; if one of them holds events, none, and return False."""
        if change.before == 1:
            return True
        for partition in partitions:
            if await self._run(CLOSE, partition, change.deadline_us) == _HELD:
                for closed in partitions:
                    await self._run(OPEN, closed, change.deadline_us)
                await self._run(COMMIT, change.whole, change.deadline_us, change.before)
                return False
        return True

    async def _describe(self, change: _Change, partitions: Sequence[Partition]) -> tuple[list[Any], list[Any]]:
        """What the partitions have in common: settings and groups."""
        told = [await self._runner.run(DESCRIBE, partition) for partition in partitions]
        settings, groups = max(told, key=lambda one: len(one[1]))
        if change.before > 1:
            settings, _ = await self._runner.run(DESCRIBE, change.whole)
        flat: list[Any] = []
        for name, own in zip(groups[::2], groups[1::2], strict=True):
            flat += (name, len(own), *own)
        return settings, flat

    async def _clear(self, change: _Change, partitions: Sequence[Partition]) -> None:
        """Remove what is left of partitions that are closed for good."""
        if change.before == 1:
            return
        for partition in partitions:
            await self._run(CLEAR, partition, change.deadline_us)
        async with asking(change.topic):
            await self._runner.connection.redis.srem(self._runner.keys.partitions, *map(str, partitions))

    async def _delete(self, change: _Change) -> int:
        removed = 0
        partitions = partitions_of(change.topic, change.before)
        for partition in partitions:
            with suppress(Moved, NotFound):  # gone already
                removed += await self._deletions.partition(partition)
        await self._clear(change, partitions)
        await self._run(DELETE, change.whole, change.deadline_us)
        return removed

    async def _run(
        self, script: Script, partition: Partition, deadline_us: int, *arguments: Any, groups: Sequence[str] = ()
    ) -> Any:
        """Run one step of a change.

        Raises:
            DispatcherNotWorking: the deadline has passed; the next verb on the topic finishes the change.
        """
        reply = await self._runner.run(script, partition, deadline_us, *arguments, groups=groups)
        if reply == _LATE:
            raise Moved(partition.topic)
        return reply


@lru_cache(maxsize=10_000)
def _the_only_one(topic: str) -> list[Partition]:
    """The partitions of a topic that has one; kept, because the same object is found faster than an equal one."""
    return partitions_of(topic, 1)


def _names(groups: Sequence[Any]) -> list[str]:
    """Of groups as ``_describe`` returns them."""
    names, at = [], 0
    while at < len(groups):
        names.append(groups[at].decode(errors="replace"))
        at += 2 + groups[at + 1]
    return names


def _holds_events() -> InvalidArgument:
    return InvalidArgument("config.partitions", "can be changed only while the topic holds no events")
