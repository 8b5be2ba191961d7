"""Deletes groups and topics. A deleted group's events are released in steps, by another replica if this one dies."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

import structlog

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, TopicHasSchedules
from duebus_server.engine.redis.admin.not_found import check_found
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from duebus_server.engine.redis.admin.retention import Retention
    from duebus_server.engine.redis.admin.topic_index import TopicIndex
    from duebus_server.engine.redis.replicas.notifications import Notifications
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

DELETE_GROUP, DELETE_TOPIC, DISPOSE = map(Script, ("delete_group", "delete_topic", "dispose"))

_BUSY = b"busy"
"""As in ``delete_topic.lua``: copies of deleted groups are put aside."""

_SCHEDULED = b"scheduled"
"""As in ``delete_topic.lua``: the topic has schedules."""

_KEPT = b"kept"
"""As in ``delete_group.lua``: the group is not removed yet, or not at all."""

CHECK_EVERY_US = 10 * SECOND
"""How often a replica looks for unfinished deletions of others, in microseconds."""


class Deletions:
    """Deletions through one replica.

    Raises, in all methods:
        DispatcherNotWorking: Redis can't be reached or refuses the command.
    """

    def __init__(
        self, runner: Runner, notifications: Notifications, topic_index: TopicIndex, retention: Retention
    ) -> None:
        self._runner = runner
        self._notifications = notifications
        self._topic_index = topic_index
        self._retention = retention
        self._next_check_us = 0

    async def topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``; the topic has one partition."""
        partition = Partition(topic)
        while True:
            now, missing, *removed = await self._runner.run(DELETE_TOPIC, partition)
            self._notifications.answered(now)
            if missing != _BUSY:
                break
            await self.dispose(partition)
        if missing == _SCHEDULED:
            raise TopicHasSchedules(topic, removed[0].decode(errors="replace"))
        check_found(missing, partition)
        await self.topic_is_gone(topic, int(now))
        return int(removed[0])

    async def topic_is_gone(self, topic: str, at_us: int) -> None:
        """A topic was deleted at that time, by the clock of its own node."""
        self._notifications.deleted(Partition(topic), None, at_us)
        await self._retention.after_deletion(topic)
        await self._topic_index.after_deletion(topic)

    async def group(self, partition: Partition, group: str) -> int:
        """See ``Engine.delete_group``."""
        missing, copies = await self._delete_group(partition, group, by_sweep=False)
        check_found(missing, partition, group)
        return int(copies[0])

    async def ephemeral_group(self, partition: Partition, group: str) -> int | None:
        """Delete an ephemeral group if its time has come.

        Returns:
            When to check again; None if it was deleted, or stays because it has a session.

        Raises:
            NotFound: there is no such group.
        """
        missing, rest = await self._delete_group(partition, group, by_sweep=True)
        if missing == _KEPT:
            return int(rest[0]) if int(rest[0]) >= 0 else None
        check_found(missing, partition, group)
        log.info("ephemeral group removed", partition=str(partition), group=group, events=rest[0])
        return None

    async def _delete_group(self, partition: Partition, group: str, *, by_sweep: bool) -> tuple[bytes, list[Any]]:
        """Run ``delete_group.lua``, and release what it has put aside. Returns its answer without the time."""
        # Noted first, so that another replica finishes the deletion if this one dies.
        await self._runner.add(self._runner.keys.deleting, partition.topic, str(partition))
        deletion = secrets.token_hex(8)
        aside = self._runner.keys.aside(partition, deletion)
        own = (group, deletion, int(by_sweep))
        now, missing, *rest = await self._runner.run(DELETE_GROUP, partition, *own, keys=aside)
        self._notifications.answered(now)
        if not missing:
            self._notifications.deleted(partition, group, int(now))
        try:
            await self.dispose(partition)
        except DispatcherNotWorking as error:  # the group is gone anyway
            log.warning(
                "a later sweep disposes of a deleted group", partition=str(partition), group=group, error=str(error)
            )
        return missing, rest

    async def finish(self) -> None:
        """Release the events of deleted groups, whichever replica deleted them."""
        now_us = self._runner.now_us()
        if now_us < self._next_check_us:
            return
        async with asking(""):
            names = await self._runner.connection.redis.smembers(self._runner.keys.deleting)
        self._next_check_us = now_us + CHECK_EVERY_US
        for partition in (Partition.read(name.decode(errors="replace")) for name in names):
            try:
                await self.dispose(partition)
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning("partition skipped", partition=str(partition), error=str(error))

    async def dispose(self, partition: Partition) -> None:
        """Release the events of the groups that were deleted in a partition."""
        keys, redis = self._runner.keys, self._runner.connection.redis
        async with asking(partition.topic):
            deletions = await redis.smembers(keys.topic(partition, "deleted"))
        for deletion in (name.decode(errors="replace") for name in deletions):
            own = (self._retention.dedupe_window_us, deletion)
            aside = keys.aside(partition, deletion.partition("/")[0])
            while await self._runner.run(DISPOSE, partition, *own, keys=aside):
                pass
        async with asking(partition.topic):
            await redis.srem(keys.deleting, str(partition))
