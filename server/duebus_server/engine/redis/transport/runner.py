"""Runs scripts for one replica of one bus."""

from __future__ import annotations

import asyncio
import secrets
import time
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import structlog

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, PartitionsChanging, UnusableStorage
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.engine.base import untimed
from duebus_server.engine.redis.transport.clients import ANSWER_TIMEOUT_S
from duebus_server.engine.redis.transport.errors import as_domain_errors, asking, is_lost
from duebus_server.engine.redis.transport.scripts import KeySet, Script
from duebus_server.engine.redis.transport.server_clock import ServerClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from duebus_server.domain.clock import Clock
    from duebus_server.engine.base import StorageTimer
    from duebus_server.engine.redis.keys import Keys
    from duebus_server.engine.redis.partition import Partition
    from duebus_server.engine.redis.transport.connection import Connection


log = structlog.get_logger()

ADD, LIST_TOPIC = map(Script, ("add", "list_topic"))

_MOVED, _GATE = b"moved", b"gate"
"""As in ``moved.lua``."""

_GROUPS = b"groups"
"""As in ``every_group.lua``: the topic has other groups; their names follow."""

_CALLS = 10
"""How many times a script is called while its topic's groups keep changing."""

_NO_TIMER = nullcontext()
"""For the first call, which limits its own time."""

_TOPICS_KNOWN = 10_000
"""For how many topics a replica remembers the groups."""

SECRET_BYTES = 32
_SECRET_MARK = b"duebus:"
"""Precedes the secret in Redis. Builds from before layouts had numbers expect a secret of exactly 32 bytes, so they
refuse to start."""

MIN_VERSION = (6, 2)
"""The first version with ZMSCORE and ZADD's LT."""

KEEPING_POLICIES = ("noeviction", "volatile-lru", "volatile-lfu", "volatile-random", "volatile-ttl", "")
"""The maxmemory policies that never drop a key without an expiry; empty if Redis does not report its policy."""

REPLICATION_TIMEOUT_MS = 1_000
"""How long to wait for replicas of Redis; shorter than the client waits for an answer."""


class Runner:
    """Runs scripts with the arguments that every script takes, and turns what Redis raises into errors of the domain.

    Args:
        frozen_now: a test's clock instead of Redis's TIME, in microseconds.

    Attributes:
        min_replicas_ack: how many replicas of Redis must have a dispatch before it is answered.
        is_working: whether the engine is started and not stopped.
        unread: why this build can't read what the other replicas write; empty while it can.
        timed: called after each script that was answered.
        unanswered: the partitions of commands whose answer was lost. Something may have become due there; the next
            sweep checks them, and empties this.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        replica: str,
        clock: Clock,
        frozen_now: Callable[[], int] | None = None,
        min_replicas_ack: int = 0,
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.replica = replica
        self._clock = ServerClock(clock)
        self._frozen_now = frozen_now
        self.min_replicas_ack = min_replicas_ack
        self.is_working = False
        self.unread = ""
        self.timed: StorageTimer = untimed
        self.unanswered: set[Partition] = set()
        self._groups: dict[Partition, tuple[str, ...]] = {}
        self._need_whole: set[Partition] = set()
        self._secret = b""

    def check_working(self) -> None:
        """Return if the engine works.

        Raises:
            DispatcherNotWorking: it is not started, or is stopped, or can't read what the other replicas write.
        """
        if not self.is_working:
            raise DispatcherNotWorking("engine redis is not running", metadata={"engine": "redis"})
        if self.unread:
            raise DispatcherNotWorking(f"engine redis: {self.unread}", metadata={"engine": "redis"})

    def now_us(self) -> int:
        """Redis's clock, estimated from its answers."""
        return self._frozen_now() if self._frozen_now else self._clock.now_us()

    def observe(self, now: bytes) -> None:
        """Take note of the time in an answer, in microseconds."""
        self._clock.observe(int(now))

    async def run(
        self,
        script: Script,
        partition: Partition,
        *arguments: Any,
        groups: Sequence[str] = (),
        keys: Sequence[str] = (),
        redis: Any = None,
        also_stopped: bool = False,
    ) -> Any:
        """Run a script on a partition.

        Args:
            script: which one.
            partition: whose keys it touches.
            *arguments: its own, after those that every script takes.
            groups: whose keys it touches, besides those of the groups that its header names.
            keys: further keys that it touches.
            redis: the connection to run it on; None for any.
            also_stopped: run it even while the engine is being stopped.

        Raises:
            DispatcherNotWorking: the engine does not work; Redis can't be reached or refuses the command.
            PartitionsChanging: this is not a partition of the topic.
        """
        if not also_stopped:
            self.check_working()
        give_up_s = asyncio.get_running_loop().time() + ANSWER_TIMEOUT_S
        try:
            with as_domain_errors(partition.topic):
                for calls_before in range(_CALLS):
                    declared = self._declared(script, partition, arguments, groups, keys)
                    needed = script.whole if partition in self._need_whole else script
                    began_s = time.perf_counter()
                    async with asyncio.timeout_at(give_up_s) if calls_before else _NO_TIMER:
                        reply = await needed.run(
                            redis or self.connection.scripts, declared, (*self._common(partition), *arguments)
                        )
                    self.timed(script.name, time.perf_counter() - began_s)
                    if not isinstance(reply, bytes) or not reply.startswith((_MOVED, _GATE, _GROUPS)):
                        return reply
                    if reply == _MOVED:
                        raise PartitionsChanging(partition.topic)
                    if reply == _GATE:
                        self._note_need(partition)
                    else:
                        self._know_groups(partition, reply.split(b"\0")[1:])
        except DispatcherNotWorking as error:
            if is_lost(error.__cause__):
                self.unanswered.add(partition)
            raise
        raise self._not_working(partition.topic, "the groups of the topic keep changing")

    def _declared(
        self, script: Script, partition: Partition, arguments: Sequence[Any], groups: Iterable[str], keys: Sequence[str]
    ) -> list[str]:
        """The keys that a script touches, or just one of them where Redis does not check.

        Declaring all would cost a call with one event a twelfth more there, on the server and in Redis.
        """
        if not self.connection.checks_keys:
            return [self.keys.topic(partition, "events")]
        named = set(groups)
        if KeySet.GROUP in script.key_sets:
            # An empty name means the default group, or what waits for the first one.
            named.update([arguments[0]] if arguments[0] else ["", DEFAULT_GROUP])
        if script.key_sets & {KeySet.UNCLAIMED, KeySet.EVERY_GROUP}:
            named.add("")
        if KeySet.EVERY_GROUP in script.key_sets:
            named.update(self._groups.get(partition, ()))
        return [*self.keys.of_topic(partition, named), *keys]

    def _note_need(self, partition: Partition) -> None:
        """From now on, run whole scripts on a partition. They run everywhere, so this may be out of date."""
        if len(self._need_whole) >= _TOPICS_KNOWN:
            self._need_whole.clear()
        self._need_whole.add(partition)

    def _know_groups(self, partition: Partition, names: Iterable[bytes]) -> None:
        if len(self._groups) >= _TOPICS_KNOWN:
            self._groups.clear()
        self._groups[partition] = tuple(name.decode(errors="replace") for name in names)

    def _common(self, partition: Partition | None) -> tuple[str, ...]:
        """The arguments that every script takes; None is for a script that touches no partition's keys."""
        now = str(self._frozen_now()) if self._frozen_now else ""
        prefix, name = ("", "") if partition is None else (self.keys.topic_prefix(partition), str(partition))
        return prefix, now, name, self.keys.namespace, self.replica

    async def run_replicated(
        self, script: Script, partition: Partition, *arguments: Any
    ) -> tuple[Any, DispatcherNotWorking | None]:
        """Run a script on a partition, and wait until ``min_replicas_ack`` replicas of Redis have what it wrote.

        Returns:
            What the script answered, and what to raise when too few replicas have it.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        wanted = self.min_replicas_ack
        timeout_s = ANSWER_TIMEOUT_S + REPLICATION_TIMEOUT_MS / 1_000
        # WAIT counts the replicas that have what was written on the same connection.
        async with asking(partition.topic, timeout_s), self.connection.redis.client() as one:
            reply = await self.run(script, partition, *arguments, redis=one)
            acked = await one.wait(wanted, REPLICATION_TIMEOUT_MS)
        if acked >= wanted:
            return reply, None
        problem = f"stored, but only {acked} of {wanted} replicas have it yet; repeating the same request_id is safe"
        return reply, self._not_working(partition.topic, problem)

    async def run_on(self, keys: Sequence[str], script: Script, topic: str, *arguments: Any) -> Any:
        """Run a script that touches these keys and no others; ``topic`` is for errors, and may be empty.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        began_s = time.perf_counter()
        with as_domain_errors(topic):
            reply = await script.whole.run(self.connection.scripts, keys, (*self._common(None), *arguments))
        self.timed(script.name, time.perf_counter() - began_s)
        return reply

    @staticmethod
    def _not_working(topic: str, why: str) -> DispatcherNotWorking:
        metadata = {"engine": "redis", "topic": topic}
        return DispatcherNotWorking(f"engine redis: {why}", metadata=metadata, retry_after_us=SECOND)

    async def check_server(self) -> None:
        """Refuse a Redis that can't do the work; warn of one that loses events.

        Raises:
            UnusableStorage: Redis is too old, or a node of a cluster where the URL names a single server.
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        async with asking(""):
            facts = await self.connection.facts()
        if facts.version < MIN_VERSION:
            found, needed = (".".join(map(str, parts)) for parts in (facts.version, MIN_VERSION))
            raise UnusableStorage(f"engine redis: this Redis is {found}, at least {needed} is needed")
        if facts.is_cluster and not self.connection.is_cluster:
            raise UnusableStorage("engine redis: this Redis is a cluster: use a redis+cluster:// URL")
        if facts.policy not in KEEPING_POLICIES:
            log.warning(
                "Redis may drop events when its memory is full: set maxmemory-policy noeviction", policy=facts.policy
            )

    async def ping(self) -> None:
        """Return if Redis answers.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        async with asking(""):
            await self.connection.redis.ping()

    async def secret(self) -> bytes:
        """The secret of the bus, which its first replica makes.

        Raises:
            UnusableStorage: the key holds something else.
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        async with asking(""):
            redis = self.connection.redis
            if not await redis.exists(self.keys.secret):
                await redis.set(self.keys.secret, _SECRET_MARK + secrets.token_bytes(SECRET_BYTES), nx=True)
            stored: bytes = await redis.get(self.keys.secret)
        secret = stored.removeprefix(_SECRET_MARK)
        if len(secret) != SECRET_BYTES or secret == stored:
            raise UnusableStorage(f"engine redis: the key {self.keys.secret} holds something other than our secret")
        self._secret = secret
        return secret

    async def keep_secret(self) -> None:
        """Restore the secret if Redis has lost it: tokens that were signed with it are still in use.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        async with asking(""):
            if not await self.connection.redis.exists(self.keys.secret):
                await self.connection.redis.set(self.keys.secret, _SECRET_MARK + self._secret, nx=True)

    async def add(self, key: str, topic: str, *members: str) -> None:
        """Add members to a set, even when memory is full; ``topic`` is for errors, and may be empty.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        if members:
            await self.run_on([key], ADD, topic, *members)

    async def list_topic(self, topic: str) -> None:
        """Add a topic to the list of topics.

        Raises:
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        await self.run_on([self.keys.topics], LIST_TOPIC, topic, topic)
