"""Deletes groups and topics. A group's copies of events are let go of in steps, whatever becomes of the replica."""

from __future__ import annotations

import secrets
from contextlib import suppress
from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, Moved
from duebus_server.engine.redis.admin.not_found import check_found
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.errors import asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from duebus_server.engine.redis.admin.retention import Forgetting
    from duebus_server.engine.redis.admin.topic_index import Listing
    from duebus_server.engine.redis.replicas.membership import Run
    from duebus_server.engine.redis.replicas.notifications import News
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

DELETE_GROUP, DELETE_TOPIC, DISPOSE = map(Script, ("delete_group", "delete_topic", "dispose"))

_BUSY = b"busy"
"""As in ``delete_topic.lua``: copies of deleted groups are put aside."""

LOOK_EVERY_US = 10 * SECOND
"""How often a replica looks for what others have left unfinished."""


class Deleting:
    """Deletions through one replica.

    Raises, in all methods:
        DispatcherNotWorking: Redis is away, or refuses.
    """

    def __init__(self, run: Run, runner: Runner, news: News, listing: Listing, forgetting: Forgetting) -> None:
        self._run = run
        self._runner = runner
        self._news = news
        self._listing = listing
        self._forgetting = forgetting
        self._next_look_us = 0

    async def topic(self, topic: str) -> int:
        """See ``Engine.delete_topic``; the topic has one partition."""
        partition = Partition(topic)
        removed = await self.partition(partition)
        self._news.deleted(partition, None, self._runner.now_us())
        await self._forgetting.after_deletion(topic)
        await self._listing.after_deletion(topic)
        return removed

    async def partition(self, partition: Partition) -> int:
        """Delete a partition; how many events it held.

        Raises:
            NotFound: it does not hold anything.
        """
        while True:
            now, missing, *removed = await self._run(DELETE_TOPIC, partition)
            self._news.heard(now)
            if missing != _BUSY:
                check_found(missing, partition)
                return int(removed[0])
            await self._dispose(partition)

    async def group(self, partition: Partition, group: str) -> int:
        """See ``Engine.delete_group``."""
        # First the note by which others find what is left, should this replica die in between.
        await self._runner.add(self._runner.keys.deleting, partition.topic, str(partition))
        deletion = secrets.token_hex(8)
        aside = self._runner.keys.aside(partition, deletion)
        now, missing, *copies = await self._run(DELETE_GROUP, partition, group, deletion, keys=aside)
        self._news.heard(now)
        if not missing:
            self._news.deleted(partition, group, int(now))
        try:
            await self._dispose(partition)
        except DispatcherNotWorking as error:  # the group is gone nevertheless
            log.warning(
                "a later sweep disposes of a deleted group", partition=str(partition), group=group, error=str(error)
            )
        check_found(missing, partition, group)
        return int(copies[0])

    async def finish(self) -> None:
        """Let go of what deletions have left, through this replica or another."""
        now_us = self._runner.now_us()
        if now_us < self._next_look_us:
            return
        async with asking(""):
            names = await self._runner.connection.redis.smembers(self._runner.keys.deleting)
        self._next_look_us = now_us + LOOK_EVERY_US
        for partition in (Partition.read(name.decode(errors="replace")) for name in names):
            try:
                await self._dispose(partition)
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning("partition passed over", partition=str(partition), error=str(error))

    async def _dispose(self, partition: Partition) -> None:
        keys, redis = self._runner.keys, self._runner.connection.redis
        async with asking(partition.topic):
            deletions = await redis.smembers(keys.topic(partition, "deleted"))
        with suppress(Moved):  # what is closed holds nothing, and nothing that was put aside
            for deletion in (name.decode(errors="replace") for name in deletions):
                own = (self._forgetting.dedupe_window_us, deletion)
                while await self._run(DISPOSE, partition, *own, keys=keys.aside(partition, deletion)):
                    pass
        async with asking(partition.topic):
            await redis.srem(keys.deleting, str(partition))
