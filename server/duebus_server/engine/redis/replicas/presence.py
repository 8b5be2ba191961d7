"""What replicas know about each other: heartbeats, notifications, and who takes over from a dead replica."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING, Any

import structlog
from redis.exceptions import RedisError

from duebus_server.domain.clock import SECOND
from duebus_server.domain.engine_info import this_process
from duebus_server.domain.errors import DispatcherNotWorking, PartitionsChanging
from duebus_server.domain.outage import Outage
from duebus_server.engine.redis.codec.leases import unpack_fences
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport.errors import as_domain_errors, asking, is_lost, is_refused_for_now
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from redis.asyncio.client import PubSub

    from duebus_server.engine.redis.locks import Locks
    from duebus_server.engine.redis.replicas.ephemeral_groups import EphemeralGroups
    from duebus_server.engine.redis.replicas.layouts import Layouts
    from duebus_server.engine.redis.replicas.reactions import Reactions
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

HEARTBEAT, ABANDON = map(Script, ("heartbeat", "abandon"))

_KNOWN, _UNKNOWN = 0, 1
"""As in ``heartbeat.lua``: whether the replica itself was on time."""

BEAT_US = SECOND // 2
LAPSE_US = 3 * SECOND
"""How long after its last heartbeat a replica is considered dead, in microseconds."""

TAKEOVER_US = 10 * SECOND
"""How long one replica has to take over from a dead one before another tries, in microseconds."""

RECONNECT_S = 0.2

SILENCE_S = 5.0
"""How long the listener waits for a message before it pings Redis."""


class Presence:
    """Tells the other replicas that this one is alive, and listens to them.

    Args:
        runner: runs scripts.
        locks: decide which replica takes over from one that has died.
        layouts: the layout that is written, and those that this replica reads.
        reactions: called with what the others publish.
        ephemeral: ephemeral groups that have lost their last session.
    """

    def __init__(
        self, runner: Runner, locks: Locks, layouts: Layouts, reactions: Reactions, ephemeral: EphemeralGroups
    ) -> None:
        self._runner = runner
        self._ephemeral = ephemeral
        self._layouts = layouts
        self._locks = locks
        self._reactions = reactions
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self._finds_dead_from_s = 0.0
        self._streams: int | None = 0
        self._about = ""
        # As the last heartbeat found.
        self._others = 0
        self._streams_of_others = 0
        self._listener_outage = Outage()
        self._connected: asyncio.Timeout | None = None
        runner.connection.on_demotion = self._connect_again

    async def start(self) -> None:
        """Send the first heartbeat and listen. Once this has returned, no published message is missed.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        self._stopping = False
        place, version = this_process()
        self._about = f"{version} {place}"
        await self._beat()
        await self._ephemeral.started()
        listening: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.create_task(self._live(), name="replica heartbeat"),
            asyncio.create_task(self._listen(listening), name="replica listener"),
        ]
        with as_domain_errors(""):
            await listening

    async def stop(self) -> None:
        """End the sessions of this replica, so that the others need not wait until they consider it dead."""
        await self._end_tasks()
        try:
            await self._end_sessions_of(self._runner.replica)
        except DispatcherNotWorking as error:
            log.warning("sessions could not be ended; the other replicas end them in three seconds", error=str(error))

    async def abandon(self) -> None:
        """End what a failed ``start`` has begun."""
        await self._end_tasks()

    def fair_share(self, streams: int | None) -> int:
        """See ``Engine.fair_share``."""
        self._streams = streams
        if streams is None:
            return 0
        return -(-(streams + self._streams_of_others) // (1 + self._others))

    async def _end_tasks(self) -> None:
        # The client may replace a cancellation that arrives with an answer by another error; the flag is reliable.
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
                self._finds_dead_from_s = monotonic() + LAPSE_US / SECOND
            except Exception:  # a failed heartbeat must not be the last one
                log.exception("unexpected error")
            else:
                if outage.ends():
                    log.info("heartbeats work again")

    async def _beat(self) -> None:
        runner = self._runner
        own = runner.keys
        keys = (own.replicas, own.layouts_read, own.layout, own.streams, own.replicas_about)
        streams = "" if self._streams is None else self._streams
        status, dead, layout, self._others, self._streams_of_others = await runner.run_on(
            keys, HEARTBEAT, "", LAPSE_US, *self._layouts.announcement(), streams, self._about
        )
        self._layouts.note_written(layout)
        if status != _KNOWN:
            self._finds_dead_from_s = monotonic() + LAPSE_US / SECOND
        if status == _UNKNOWN:
            # The first heartbeat; or the others consider this replica dead; or Redis has lost its data.
            await self._reactions.came_back()
        # A replica whose own heartbeats stopped for a while can't tell which others are dead: theirs may have stopped
        # for the same reason, such as a Redis that hung.
        if monotonic() < self._finds_dead_from_s:
            return
        for replica in (name.decode(errors="replace") for name in dead):
            try:
                await self._take_over_from(replica)
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning("a dead replica's sessions could not be ended yet", replica=replica, error=str(error))

    async def _take_over_from(self, replica: str) -> None:
        lock = await self._locks.acquire("sweep", TAKEOVER_US)
        if lock is None:
            return
        log.warning("a replica has died", replica=replica)
        try:
            await self._end_sessions_of(replica, self._reactions.leases_ran_out)
        finally:
            await self._locks.release(lock)

    async def _end_sessions_of(
        self, replica: str, ended: Callable[[Partition, str], None] = lambda _partition, _group: None
    ) -> None:
        """End the sessions of a replica and let their leases run out; then forget it. Can be repeated.

        Args:
            replica: which one.
            ended: called with each group in which it had sessions.

        Raises:
            DispatcherNotWorking: Redis can't be reached, or refuses this in some groups for now. The replica is not
                forgotten, so this is repeated.
        """
        keys = self._runner.keys
        redis = self._runner.connection.redis
        async with asking(""):
            noted = await redis.smembers(keys.replica_groups(replica))
        refused: DispatcherNotWorking | None = None
        for name in noted:
            topic, _, group = name.decode(errors="replace").rpartition("/")
            partition = Partition.read(topic)
            try:
                await self._end_sessions_in(partition, group, replica)
            except DispatcherNotWorking as error:
                if is_lost(error.__cause__):
                    raise
                log.warning("group skipped", partition=str(partition), group=group, error=str(error))
                if is_refused_for_now(error.__cause__):
                    refused = error
                    continue
            ended(partition, group)
        if refused is not None:
            raise refused
        async with asking(""):
            await redis.delete(keys.replica_groups(replica))
            await redis.zrem(keys.replicas, replica)
            await redis.hdel(keys.layouts_read, replica)
            await redis.hdel(keys.streams, replica)
            await redis.hdel(keys.replicas_about, replica)

    async def _end_sessions_in(self, partition: Partition, group: str, replica: str) -> None:
        """End the sessions of a replica in a group."""
        try:
            kept_until = await self._runner.run(ABANDON, partition, group, replica, also_stopped=True)
        except PartitionsChanging:
            return  # a closed partition holds no events and knows no sessions
        if int(kept_until) >= 0:
            await self._ephemeral.check_at([(partition, group)], int(kept_until))

    # --- what the others publish -------------------------------------------------------------------------------------

    async def _listen(self, listening: asyncio.Future[None]) -> None:
        """Listen until the replica stops. After each reconnection, look again, because messages may have been lost."""
        while not self._stopping:
            client = self._runner.connection.listener()
            try:
                async with client.pubsub() as pubsub, asyncio.timeout(None) as self._connected:
                    await pubsub.subscribe(*self._channels())
                    await self._receive(pubsub, listening)
            except (RedisError, OSError) as error:
                if not listening.done():
                    listening.set_exception(error)
                    return
                if self._listener_outage.begins():
                    log.warning("the listener lost Redis", error=str(error) or "it is a replica now")
                await asyncio.sleep(RECONNECT_S)
            except Exception:  # the listener must not end: nothing else receives the messages
                log.exception("unexpected error")
                await asyncio.sleep(RECONNECT_S)
            finally:
                self._connected = None
                await client.aclose()

    def _connect_again(self) -> None:
        """Drop a connection to a node that has become a replica.

        Only the listening task may close it: the client can't handle a close in the middle of a read or a write.
        """
        if self._connected is not None and not self._connected.expired():
            self._connected.reschedule(asyncio.get_running_loop().time())

    def _channels(self) -> tuple[str, ...]:
        keys = self._runner.keys
        return (
            keys.wake_channel,
            keys.schedules_channel,
            keys.changes_channel,
            keys.replica_channel(self._runner.replica),
        )

    async def _receive(self, pubsub: PubSub, listening: asyncio.Future[None]) -> None:
        """Pass on what is published.

        Raises:
            ConnectionError: Redis has not even answered a ping.
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
            if self._listener_outage.ends():
                log.info("the listener is connected again")
            self._reactions.recheck()
        if message["type"] == "message":
            try:
                self._pass_on(message["channel"].decode(), message["data"])
            except ValueError:
                log.warning("a message that no replica publishes was ignored", channel=message["channel"].decode())

    def _pass_on(self, channel: str, data: bytes) -> None:
        """Pass on a message of another replica.

        Raises:
            ValueError: it is not a message of a replica.
        """
        if channel == self._runner.keys.wake_channel:
            replica, name, group, at_us = data.split(b"\0")
            if replica.decode() != self._runner.replica:  # this one knows its own changes from the answer
                self._reactions.due(Partition.read(name.decode()), group.decode(), int(at_us))
        elif channel == self._runner.keys.schedules_channel:
            replica, name, at_us = data.split(b"\0")
            if replica.decode() != self._runner.replica:
                self._reactions.schedule_due(Partition.read(name.decode()), int(at_us))
        elif channel == self._runner.keys.changes_channel:
            replica, what, name, group, at_us = data.split(b"\0")
            if replica.decode() != self._runner.replica:
                self._pass_on_change(what, Partition.read(name.decode()), group.decode(), int(at_us))
        else:
            session, tokens = data.split(b"\0", 1)
            self._reactions.ended(session.decode(), unpack_fences(tokens))

    def _pass_on_change(self, what: bytes, partition: Partition, group: str, at_us: int) -> None:
        if what == b"deleted":
            self._reactions.deleted(partition, group or None, at_us)
        elif what == b"configured":
            self._reactions.configured(partition)
        elif what == b"limited":
            self._reactions.limited(partition, group)
        elif what == b"moved":
            self._reactions.moved(partition.topic)
