"""Replicas among each other: each says that it lives, hears what concerns it, and looks after those that died."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol

import structlog
from redis.exceptions import RedisError

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, Moved
from duebus_server.domain.outage import Outage
from duebus_server.engine.redis.codec.leases import unpack_fences
from duebus_server.engine.redis.transport.errors import as_domain_errors, asking, is_lost
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from redis.asyncio.client import PubSub

    from duebus_server.engine.redis.locks import Locks
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

NOTES_AT_ONCE = 1_000

SILENCE_S = 5.0
"""A listener that has heard nothing for so long asks whether Redis is there still."""


class Hears(Protocol):
    """Who is told what the other replicas say."""

    def heard_due(self, topic: str, group: str, at_us: int) -> None:
        """A group has something due."""

    def heard_ended(self, session: str, fencing_tokens: Sequence[int]) -> None:
        """Leases of a session of this replica have ended."""

    def heard_deleted(self, topic: str, group: str | None, at_us: int) -> None:
        """A group, or with None a topic, was deleted at that time."""

    def heard_configured(self, topic: str) -> None:
        """A topic has other settings."""

    def heard_moved(self, topic: str) -> None:
        """A topic is spread over another number of partitions."""

    def look_into(self, topic: str, group: str) -> None:
        """Leases of the group have just run out."""

    def look_again(self) -> None:
        """Word may have been lost."""

    async def came_back(self) -> None:
        """Redis does not know this replica (any more): whatever it is to know must be said again."""


class Presence:
    """This replica among the others."""

    def __init__(self, runner: Runner, locks: Locks) -> None:
        self._runner = runner
        self._locks = locks
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._judges_from_s = 0.0
        self._deaf = Outage()

    async def start(self, hears: Hears) -> None:
        """Say that this replica lives, and listen; when this returns, nothing that is said is missed.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        self._stopping = False
        await self._beat(hears)
        listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.create_task(self._live(hears), name="replica heartbeat"),
            asyncio.create_task(self._listen(hears, listening), name="replica listener"),
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

    async def has_sessions_in(self, groups: Iterable[tuple[str, str]]) -> None:
        """Note the groups, so that the others find the leases of this replica's sessions should it die.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        key = self._runner.keys.replica_groups(self._runner.replica)
        names = [f"{topic}/{group}" for topic, group in groups]
        for first in range(0, len(names), NOTES_AT_ONCE):
            await self._runner.add(key, "", *names[first : first + NOTES_AT_ONCE])

    async def has_noted(self, topic: str, group: str) -> bool:
        """Whether Redis still has the note that `has_sessions_in` made of a group.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        key = self._runner.keys.replica_groups(self._runner.replica)
        async with asking(topic):
            return bool(await self._runner.connection.redis.sismember(key, f"{topic}/{group}"))

    # --- life and death ---------------------------------------------------------------------------------------------

    async def _live(self, hears: Hears) -> None:
        outage = Outage()
        while not self._stopping:
            await asyncio.sleep(BEAT_US / SECOND)
            try:
                await self._beat(hears)
            except DispatcherNotWorking as error:
                if outage.begins():
                    log.warning("heartbeats fail", error=str(error))
                self._judges_from_s = monotonic() + LAPSE_US / SECOND
            except Exception:  # a heartbeat that fails must not be the last
                log.exception("unexpected error")
            else:
                if outage.ends():
                    log.info("heartbeats work again")

    async def _beat(self, hears: Hears) -> None:
        runner = self._runner
        heard, dead = await runner.run_on([runner.keys.replicas], HEARTBEAT, "", LAPSE_US)
        if heard != _KNOWN:
            self._judges_from_s = monotonic() + LAPSE_US / SECOND
        if heard == _UNKNOWN:
            # The first beat, or the others have taken this replica for dead, or Redis has lost what it knew.
            await hears.came_back()
        # Whoever could not reach Redis for a while, or was late because Redis stood still, can't tell the dead from
        # those who could not either.
        if monotonic() < self._judges_from_s:
            return
        for name in dead:
            await self._bury_another(name.decode(errors="replace"), hears)

    async def _bury_another(self, replica: str, hears: Hears) -> None:
        lock = await self._locks.acquire("sweep", BURIAL_US)
        if lock is None:
            return
        log.warning("a replica has died", replica=replica)
        try:
            for topic, group in await self._bury(replica):
                hears.look_into(topic, group)
        finally:
            await self._locks.release(lock)

    async def _bury(self, replica: str) -> list[tuple[str, str]]:
        """End the sessions of a replica and let their leases run out; then forget it. Can be repeated.

        Returns:
            The groups in which it had any.
        """
        keys = self._runner.keys
        redis = self._runner.connection.redis
        async with asking(""):
            names = await redis.smembers(keys.replica_groups(replica))
        groups = [
            (topic, group) for topic, _, group in (name.decode(errors="replace").rpartition("/") for name in names)
        ]
        for topic, group in groups:
            try:
                await self._runner.run(ABANDON, topic, group, replica)
            except Moved:
                continue  # a partition that is closed holds no event, and knows no session
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning("group passed over", topic=topic, group=group, error=str(error))
        async with asking(""):
            await redis.delete(keys.replica_groups(replica))
            await redis.zrem(keys.replicas, replica)
        return groups

    # --- word from the others ---------------------------------------------------------------------------------------

    async def _listen(self, hears: Hears, listening: asyncio.Future[None]) -> None:
        """Listen for ever; after each new connection look again, for what was said meanwhile is lost."""
        while not self._stopping:
            client = self._runner.connection.listener()
            try:
                async with client.pubsub() as pubsub:
                    await pubsub.subscribe(*self._channels())
                    await self._hear(pubsub, hears, listening)
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

    async def _hear(self, pubsub: PubSub, hears: Hears, listening: asyncio.Future[None]) -> None:
        """Pass on what comes.

        Raises:
            ConnectionError: Redis says nothing at all, although it was asked to.
        """
        asked = False
        while not self._stopping:
            message = await pubsub.get_message(timeout=SILENCE_S)
            if message is not None:
                asked = False
                self._handle(message, hears, listening)
            elif asked:
                raise ConnectionError("the connection is dead")
            else:
                asked = True
                await pubsub.ping()

    def _handle(self, message: dict[str, Any], hears: Hears, listening: asyncio.Future[None]) -> None:
        if message["type"] == "subscribe" and message["data"] == len(self._channels()):
            if not listening.done():
                listening.set_result(None)
            if self._deaf.ends():
                log.info("the listener hears Redis again")
            hears.look_again()
        if message["type"] == "message":
            try:
                self._pass_on(message["channel"].decode(), message["data"], hears)
            except ValueError:
                log.warning("word that no replica says was passed over", channel=message["channel"].decode())

    def _pass_on(self, channel: str, data: bytes, hears: Hears) -> None:
        """What another replica said.

        Raises:
            ValueError: it was not one of ours.
        """
        if channel == self._runner.keys.wake_channel:
            replica, topic, group, at_us = data.split(b"\0")
            if replica.decode() != self._runner.replica:  # what this one did itself, it knows from the answer
                hears.heard_due(topic.decode(), group.decode(), int(at_us))
        elif channel == self._runner.keys.changes_channel:
            replica, what, topic, group, at_us = data.split(b"\0")
            if replica.decode() != self._runner.replica:
                self._pass_on_change(what, topic.decode(), group.decode(), int(at_us), hears)
        else:
            session, tokens = data.split(b"\0", 1)
            hears.heard_ended(session.decode(), unpack_fences(tokens))

    @staticmethod
    def _pass_on_change(what: bytes, topic: str, group: str, at_us: int, hears: Hears) -> None:
        if what == b"deleted":
            hears.heard_deleted(topic, group or None, at_us)
        elif what == b"configured":
            hears.heard_configured(topic)
        elif what == b"moved":
            hears.heard_moved(topic)
