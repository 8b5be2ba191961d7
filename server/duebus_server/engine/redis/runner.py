"""Runs scripts for one replica of one bus."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Any

from duebus_server.engine.redis.errors import as_domain_errors
from duebus_server.engine.redis.server_clock import ServerClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.domain.clock import Clock
    from duebus_server.engine.redis.connection import Connection
    from duebus_server.engine.redis.keys import Keys
    from duebus_server.engine.redis.scripts import Script


SECRET_BYTES = 32


class Runner:
    """Puts in front of a script's own arguments what every script takes, and its errors into the domain's words.

    Args:
        frozen_now: a test's clock instead of Redis's TIME, in microseconds.
    """

    def __init__(
        self,
        connection: Connection,
        keys: Keys,
        replica: str,
        clock: Clock,
        frozen_now: Callable[[], int] | None = None,
    ) -> None:
        self.connection = connection
        self.keys = keys
        self.replica = replica
        self._clock = ServerClock(clock)
        self._frozen_now = frozen_now

    def now_us(self) -> int:
        """Redis's clock, as far as its answers tell."""
        return self._frozen_now() if self._frozen_now else self._clock.now_us()

    def observe(self, now: bytes) -> None:
        """An answer said what time it was."""
        self._clock.observe(int(now))

    async def run(self, script: Script, topic: str, *arguments: Any) -> Any:
        """Run a script on a topic.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        return await self.run_on(self.keys.topic(topic, "events"), script, topic, *arguments)

    async def run_on(self, key: str, script: Script, topic: str, *arguments: Any) -> Any:
        """Run a script on a key of its own; ``topic`` may be empty then.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        keys = self.keys
        now = str(self._frozen_now()) if self._frozen_now else ""
        common = (keys.topic_prefix(topic), now, topic, keys.namespace, self.replica)
        with as_domain_errors(topic):
            return await script.run(self.connection.redis, key, (*common, *arguments))

    async def secret(self) -> bytes:
        """The secret of the bus: made by its first replica.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        with as_domain_errors(""):
            redis = self.connection.redis
            await redis.set(self.keys.secret, secrets.token_bytes(SECRET_BYTES), nx=True)
            secret: bytes = await redis.get(self.keys.secret)
            return secret

    async def list_topic(self, topic: str) -> None:
        """Put a topic among those that are listed.

        Raises:
            DispatcherNotWorking: Redis is away, or refuses.
        """
        with as_domain_errors(topic):
            await self.connection.redis.sadd(self.keys.topics, topic)
