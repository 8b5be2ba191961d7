"""How many partitions each topic has, and how that number is changed.

The topic's own keys hold the number, and each partition's keys hold whether it is open. Every script checks this first
(``moved.lua``), so a replica that is wrong about the number gets an error before anything has changed. Each attempt to
change the number has an id of its own, and all of its steps are compare-and-set on that id. ``DATA_MODEL.md`` describes
the steps, and why it does not matter when one comes late or the replica dies in between.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import InvalidArgument, PartitionsChanging
from duebus_server.engine.redis.codec.settings import pairs_of
from duebus_server.engine.redis.partition import Partition, partitions_of
from duebus_server.engine.redis.tasks import all_of
from duebus_server.engine.redis.transport.errors import asking
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.redis.engine import RedisEngine
    from duebus_server.engine.redis.locks import Locks
    from duebus_server.engine.redis.transport.runner import Runner

BEGIN, CLOSE, DESCRIBE, PREPARE, COMMIT, OPEN, CLEAR, END = map(
    Script,
    (
        "partitions_begin",
        "partition_close",
        "partition_describe",
        "partition_prepare",
        "partitions_commit",
        "partition_open",
        "partition_clear",
        "partitions_end",
    ),
)

REOPEN, FINISH = "reopen", ""
"""In place of a number of partitions: reopen those that the topic has; finish what another replica has begun."""

LOCK_US = 5 * SECOND
"""How long others leave a change to the replica that began it. Then they finish it, whether or not that one is dead."""

_HELD, _REPLACED = b"held", b"replaced"
"""As in ``partitions.lua``."""

_Groups = dict[bytes, dict[bytes, bytes]]
"""What each group of a topic has besides events, as far as all partitions share it."""

_FENCE = b"fence"
"""The last fencing token of a group in a partition."""

_KIND = b"kind"
"""Whether a group is lasting (empty) or ephemeral."""


@dataclass(frozen=True, slots=True)
class _Change:
    """A change of a topic.

    Attributes:
        before: how many partitions the topic has.
        after: how many it is to have; 0 to delete it.
        change_id: unique to this attempt.
    """

    topic: str
    before: int
    after: int
    change_id: str

    @property
    def whole(self) -> Partition:
        """The topic itself, whose keys hold its number of partitions."""
        return Partition(self.topic)

    @property
    def old(self) -> list[Partition]:
        """The partitions to be removed. A topic with one partition has only its own keys."""
        return partitions_of(self.topic, self.before) if self.before not in (1, self.after) else []

    @property
    def new(self) -> list[Partition]:
        """The partitions to be opened."""
        return partitions_of(self.topic, self.after) if self.after > 1 else []


class Partitioning:
    """Knows the partitions of topics, as far as this replica does, and changes their number.

    Args:
        runner: runs scripts.
        locks: the locks of the bus. A topic's lock keeps replicas from taking a change over from each other; nothing
            else depends on it.
        engine: called with what was deleted.

    Raises, in all methods that run something:
        DispatcherNotWorking: Redis can't be reached or refuses the command; or another replica is changing the topic.
    """

    def __init__(self, runner: Runner, locks: Locks, engine: RedisEngine) -> None:
        self._runner = runner
        self._locks = locks
        self._engine = engine
        self._known: dict[str, list[Partition]] = {}  # of topics that have several

    def partitions(self, topic: str) -> list[Partition]:
        """The partitions of a topic by number, as far as this replica knows."""
        return self._known.get(topic) or _the_only_one(topic)

    def know(self, topic: str, partitions: list[Partition]) -> None:
        """Take note of a topic's partitions."""
        if len(partitions) == 1:
            self._known.pop(topic, None)
        else:
            self._known[topic] = partitions

    async def read(self, topic: str) -> list[Partition]:
        """The partitions of a topic, read from Redis. Finishes a change that was interrupted."""
        count = await self._engine.topic_index.partition_count(topic)
        if count is None:
            await self._under_lock(topic, FINISH)
            count = await self._engine.topic_index.partition_count(topic)
        if count is None:
            raise PartitionsChanging(topic)
        return partitions_of(topic, count)

    async def change(self, topic: str, count: int) -> None:
        """Give a topic this many partitions.

        Raises:
            InvalidArgument: it holds events or has schedules; nothing was changed.
        """
        await self._engine.topic_index.before(topic)
        await self._under_lock(topic, count)
        if len(await self.read(topic)) != count:  # this finished a change that another replica had begun
            await self._under_lock(topic, count)

    async def reopen(self, topic: str) -> None:
        """Reopen partitions that are closed, or have lost all their keys, as a node of a cluster may."""
        await self._under_lock(topic, REOPEN)

    async def delete(self, topic: str) -> int:
        """Delete a topic of several partitions. Returns how many events it held."""
        removed = await self._under_lock(topic, 0)
        if removed is None:  # this finished a change that another replica had begun
            raise PartitionsChanging(topic)
        self.know(topic, partitions_of(topic, 1))
        return removed

    async def has_group(self, partition: Partition, group: str) -> bool:
        """Whether a partition has a group."""
        async with asking(partition.topic):
            return bool(
                await self._runner.connection.redis.hexists(self._runner.keys.topic(partition, "groups"), group)
            )

    async def _under_lock(self, topic: str, wanted: int | str) -> int | None:
        lock = await self._locks.acquire(f"partitions:{topic}", LOCK_US)
        if lock is None:
            raise PartitionsChanging(topic)
        try:
            return await self._carry_out(topic, wanted)
        finally:
            await self._locks.release(lock)

    async def _carry_out(self, topic: str, wanted: int | str) -> int | None:
        """Carry out a change: the wanted one, or one that another replica has begun.

        Returns:
            How many events were deleted; None if the topic was not deleted.

        Raises:
            InvalidArgument: the topic holds events or has schedules; nothing was changed.
        """
        reply = await self._runner.run(BEGIN, Partition(topic), secrets.token_hex(8), wanted)
        if reply == _HELD:
            raise _is_in_use()
        if reply is None:
            return None
        before, after, change_id, is_decided = reply
        change = wish = _Change(topic, before, after, change_id.decode())
        if not is_decided:
            change = await self._decide(wish)
        removed = await self._complete(change)
        if change.after != wish.after == wanted:
            raise _is_in_use()
        return None if change.after else removed

    async def _decide(self, change: _Change) -> _Change:
        """Close the old partitions and prepare the new ones. Returns what was decided, which is to reopen the old ones
        if they hold events.

        Raises:
            PartitionsChanging: another replica has taken over.
        """
        if _HELD in await self._each(CLOSE, change, change.old, int(change.after == 0)):
            change = replace(change, after=change.before)
        settings, groups = await self._describe(change)
        names = [name.decode(errors="replace") for name in groups]
        given = _flat(groups)
        ephemeral = [name.decode(errors="replace") for name, own in groups.items() if own[_KIND]]
        new = partitions_of(change.topic, change.after) if change.after else []
        await self._engine.ephemeral.check_later((partition, name) for partition in new for name in ephemeral)
        await self._each(PREPARE, change, change.new, len(settings), *settings, *given, groups=names)
        own = (change.change_id, change.after, *(given if change.after == 1 else ()))
        if await self._runner.run(COMMIT, change.whole, *own, groups=names) == _REPLACED:
            raise PartitionsChanging(change.topic)
        return change

    async def _describe(self, change: _Change) -> tuple[list[bytes], _Groups]:
        """The settings of the topic, and its groups."""
        settings, _ = await self._runner.run(DESCRIBE, change.whole)
        old = partitions_of(change.topic, change.before)
        described = await all_of([self._runner.run(DESCRIBE, partition) for partition in old])
        return settings, _merged([_read_groups(flat) for _, flat in described])

    async def _complete(self, change: _Change) -> int:
        """Open the new partitions and remove the old ones. Returns how many events these held. Can be repeated."""
        await self._each(OPEN, change, change.new)
        is_deleted = change.after == 0
        if is_deleted:
            await all_of([self._engine.deletions.dispose(partition) for partition in change.old])
        cleared = await self._each(CLEAR, change, change.old, int(is_deleted))
        at_us = int(await self._runner.run(END, change.whole, change.change_id))
        if is_deleted:
            for partition, (now, _) in zip(change.old, cleared, strict=True):
                self._engine.notifications.deleted(partition, None, int(now))
            await self._engine.deletions.topic_is_gone(change.topic, at_us)
        self._engine.retention.anything_may_have_changed()
        return sum(removed for _, removed in cleared)

    async def _each(
        self,
        script: Script,
        change: _Change,
        partitions: Sequence[Partition],
        *own: Any,
        groups: Sequence[str] = (),
    ) -> list[Any]:
        """Take a step in each partition, and wait for all of them."""
        arguments = (change.change_id, *own)
        return await all_of([self._runner.run(script, one, *arguments, groups=groups) for one in partitions])


@lru_cache(maxsize=10_000)
def _the_only_one(topic: str) -> list[Partition]:
    """The only partition of a topic. Cached, because the same object is found faster than an equal one."""
    return partitions_of(topic, 1)


def _read_groups(flat: Sequence[Any]) -> _Groups:
    """The groups in an answer of ``partition_describe.lua``."""
    groups = zip(flat[::3], flat[1::3], flat[2::3], strict=True)
    return {name: {_KIND: kind, **pairs_of(own)} for name, kind, own in groups}


def _merged(partitions: Sequence[_Groups]) -> _Groups:
    """The groups of a topic, merged from its partitions, some of which may have lost theirs."""
    groups = max(partitions, key=len)
    for name, own in groups.items():
        fences = [there[name][_FENCE] for there in partitions if _FENCE in there.get(name, {})]
        if fences:
            own[_FENCE] = max(fences, key=int)  # so that an event's tokens grow even on a node whose clock is behind
    return groups


def _flat(groups: _Groups) -> list[bytes | int]:
    """As ``take_over`` in ``partitions.lua`` reads them."""
    flat: list[bytes | int] = []
    for name, own in groups.items():
        kept = {field: value for field, value in own.items() if field != _KIND}
        flat += (name, own[_KIND], 2 * len(kept), *chain.from_iterable(kept.items()))
    return flat


def _is_in_use() -> InvalidArgument:
    return InvalidArgument(
        "config.partitions", "can be changed only while the topic holds no events and has no schedules"
    )
