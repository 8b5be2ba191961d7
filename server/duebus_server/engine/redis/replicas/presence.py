"""Replicas among each other: each says that it lives, hears what concerns it, and looks after those that died."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, Moved
from duebus_server.domain.outage import Outage
from duebus_server.engine.redis.codec.leases import unpack_fences
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.errors import as_domain_errors, asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from redis.asyncio.client import PubSub

    from duebus_server.engine.redis.locks import Locks
    from duebus_server.engine.redis.replicas.layouts import Layouts
    from duebus_server.engine.redis.replicas.reactions import Reactions
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

HEARTBEAT, ABANDON = map(Script, ("heartbeat", "abandon"))

_KNOWN, _UNKNOWN = 0, 1
"""What heartbeat.lua says of the replica itself."""

BEAT_US = SECOND // 2
LAPSE_US = 3 * SECOND
"""A replica that has not been heard of for this long is dead to the others."""

BURIAL_US = 10 * SECOND
"""How long one replica has to look after a dead one before another tries."""

RECONNECT_S = 0.2

SILENCE_S = 5.0
"""A listener that has heard nothing for so long asks whether Redis is there still."""


class Presence:
    """This replica among the others.

    Args:
        runner: runs scripts.
        locks: decide which replica looks after one that has died.
        layouts: which one is written, and which this replica reads.
        hears: told what the others say.
    """

    def __init__(self, runner: Runner, locks: Locks, layouts: Layouts, hears: Reactions) -> None:
        self._runner = runner
        self._layouts = layouts
        self._locks = locks
        self._hears = hears
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._judges_from_s = 0.0
        self._deaf = Outage()

    async def start(self) -> None:
        """Say that this replica lives, and listen; when this returns, nothing that is said is missed.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        self._stopping = False
        await self._beat()
        listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.create_task(self._live(), name="replica heartbeat"),
            asyncio.create_task(self._listen(listening), name="replica listener"),
        ]
        with as_domain_errors(""):
            await listening

    async def stop(self) -> None:
        """Go in an orderly way: the others need not wait for the lapse."""
        await self._end_tasks()
        try:
            await self._bury(self._runner.replica)
        except DispatcherNotWorking as error:
            log.warning("left without saying so", error=str(error))

    async def abandon(self) -> None:
        """Let go of what `start` has begun, should it have failed."""
        await self._end_tasks()

    async def _end_tasks(self) -> None:
        # The client may turn a cancellation that comes with an answer into something else: the flag is sure.
        self._stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # --- life and death ---------------------------------------------------------------------------------------------

    async def _live(self) -> None:
        outage = Outage()
        while not self._stopping:
            await asyncio.sleep(BEAT_US / SECOND)
            try:
                await self._beat()
            except DispatcherNotWorking as error:
                if outage.begins():
                    log.warning("heartbeats fail", error=str(error))
                self._judges_from_s = monotonic() + LAPSE_US / SECOND
            except Exception:  # a heartbeat that fails must not be the last
                log.exception("unexpected error")
            else:
                if outage.ends():
                    log.info("heartbeats work again")

    async def _beat(self) -> None:
        runner = self._runner
        keys = (runner.keys.replicas, runner.keys.layouts_read, runner.keys.layout)
        heard, dead, layout = await runner.run_on(keys, HEARTBEAT, "", LAPSE_US, *self._layouts.announcement())
        self._layouts.heard(layout)
        if heard != _KNOWN:
            self._judges_from_s = monotonic() + LAPSE_US / SECOND
        if heard == _UNKNOWN:
            # The first beat, or the others have taken this replica for dead, or Redis has lost what it knew.
            await self._hears.came_back()
        # Whoever could not reach Redis for a while, or was late because Redis stood still, can't tell the dead from
        # those who could not either.
        if monotonic() < self._judges_from_s:
            return
        for name in dead:
            await self._bury_another(name.decode(errors="replace"))

    async def _bury_another(self, replica: str) -> None:
        lock = await self._locks.acquire("sweep", BURIAL_US)
        if lock is None:
            return
        log.warning("a replica has died", replica=replica)
        try:
            for partition, group in await self._bury(replica):
                self._hears.leases_ran_out(partition, group)
        finally:
            await self._locks.release(lock)

    async def _bury(self, replica: str) -> list[tuple[Partition, str]]:
        """End the sessions of a replica and let their leases run out; then forget it. Can be repeated.

        Returns:
            The groups in which it had any.
        """
        keys = self._runner.keys
        redis = self._runner.connection.redis
        async with asking(""):
            names = await redis.smembers(keys.replica_groups(replica))
        groups = [
            (Partition.read(name), group)
            for name, _, group in (noted.decode(errors="replace").rpartition("/") for noted in names)
        ]
        for partition, group in groups:
            try:
                await self._runner.run(ABANDON, partition, group, replica)
            except Moved:
                continue  # a partition that is closed holds no event, and knows no session
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning("group passed over", partition=str(partition), group=group, error=str(error))
        async with asking(""):
            await redis.delete(keys.replica_groups(replica))
            await redis.zrem(keys.replicas, replica)
            await redis.hdel(keys.layouts_read, replica)
        return groups

    # --- word from the others ---------------------------------------------------------------------------------------

    async def _listen(self, listening: asyncio.Future[None]) -> None:
        """Listen for ever; after each new connection look again, for what was said meanwhile is lost."""
        while not self._stopping:
            client = self._runner.connection.listener()
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(*self._channels())
                    await self._hear(pubsub, listening)
            except (RedisError, OSError) as error:
                if not listening.done():
                    listening.set_exception(error)
                    return
                if self._deaf.begins():
                    log.warning("the listener lost Redis", error=str(error))
                await asyncio.sleep(RECONNECT_S)
            finally:
                await client.aclose()

    def _channels(self) -> tuple[str, ...]:
        keys = self._runner.keys
        return keys.wake_channel, keys.changes_channel, keys.replica_channel(self._runner.replica)

    async def _hear(self, pubsub: PubSub, listening: asyncio.Future[None]) -> None:
        """Pass on what comes.

        Raises:
            ConnectionError: Redis says nothing at all, although it was asked to.
        """
        asked = False
        while not self._stopping:
            message = await pubsub.get_message(timeout=SILENCE_S)
            if message is not None:
                asked = False
                self._handle(message, listening)
            elif asked:
                raise ConnectionError("the connection is dead")
            else:
                asked = True
                await pubsub.ping()

    def _handle(self, message: dict[str, Any], listening: asyncio.Future[None]) -> None:
        if message["type"] == "subscribe" and message["data"] == len(self._channels()):
            if not listening.done():
                listening.set_result(None)
            if self._deaf.ends():
                log.info("the listener hears Redis again")
            self._hears.look_again()
        if message["type"] == "message":
            try:
                self._pass_on(message["channel"].decode(), message["data"])
            except ValueError:
                log.warning("word that no replica says was passed over", channel=message["channel"].decode())

    def _pass_on(self, channel: str, data: bytes) -> None:
        """What another replica said.

        Raises:
            ValueError: it was not one of ours.
        """
        if channel == self._runner.keys.wake_channel:
            replica, name, group, at_us = data.split(b"\0")
            if replica.decode() != self._runner.replica:  # what this one did itself, it knows from the answer
                self._hears.due(Partition.read(name.decode()), group.decode(), int(at_us))
        elif channel == self._runner.keys.changes_channel:
            replica, what, name, group, at_us = data.split(b"\0")
            if replica.decode() != self._runner.replica:
                self._pass_on_change(what, Partition.read(name.decode()), group.decode(), int(at_us))
        else:
            session, tokens = data.split(b"\0", 1)
            self._hears.ended(session.decode(), unpack_fences(tokens))

    def _pass_on_change(self, what: bytes, partition: Partition, group: str, at_us: int) -> None:
        if what == b"deleted":
            self._hears.deleted(partition, group or None, at_us)
        elif what == b"configured":
            self._hears.configured(partition)
        elif what == b"moved":
            self._hears.moved(partition.topic)
