"""The layout of keys and values that a bus is written in, and how one build takes over from another.

``NS:layout`` is the number of the layout that is written. A build reads its own layout and the one before it. While any
live replica can't read the newest layout, all replicas write the one before. The first heartbeat that finds every live
replica able to read the newest layout switches the bus to it, in the same atomic step (``heartbeat.lua``). So two
builds run side by side during a rolling update, and until it is complete one can roll back. ``DATA_MODEL.md`` has the
rules for changing a layout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from duebus_server.domain.errors import UnusableStorage
from duebus_server.engine.redis.transport.errors import asking

if TYPE_CHECKING:
    from duebus_server.engine.redis.transport.runner import Runner

log = structlog.get_logger()

LAYOUT = 1
"""The newest layout of this build. Raise it when you change what is stored."""

OLD_SECRET_BYTES = 32
"""The size of the secret that builds from before layouts had numbers left in Redis."""


class Layouts:
    """The layouts of one replica.

    Args:
        runner: runs commands.
        newest: the number of the newest layout that it reads.

    Attributes:
        oldest: the number of the oldest layout that it reads.
        written: the number of the layout that is written now; 0 until it is read from Redis.
    """

    def __init__(self, runner: Runner, newest: int = LAYOUT) -> None:
        self._runner = runner
        self.newest = newest
        self.oldest = max(1, newest - 1)
        self.written = 0

    async def check(self) -> None:
        """Refuse a layout that this build does not read.

        Raises:
            UnusableStorage: this build does not read the layout.
            DispatcherNotWorking: Redis can't be reached or refuses the command.
        """
        keys, redis = self._runner.keys, self._runner.connection.redis
        async with asking(""):
            found = await redis.get(keys.layout)
            is_old = found is None and await redis.strlen(keys.secret) == OLD_SECRET_BYTES
        if is_old:
            raise UnusableStorage(
                f"engine redis: namespace {keys.namespace!r} was written by a build from before 0.1.0, which this one "
                "does not read: let that build deliver what is left, or choose another --namespace"
            )
        if found is not None:
            self.note_written(found)

    def note_written(self, found: bytes) -> None:
        """Take note of the layout that is written.

        Raises:
            UnusableStorage: this build does not read it.
        """
        self._runner.unread = self._why_unread(found)
        if self._runner.unread:
            raise UnusableStorage(f"engine redis: {self._runner.unread}", metadata={"engine": "redis"})
        if int(found) != self.written:
            self.written = int(found)
            log.info("layout of Redis", written=self.written, newest=self.newest)

    def _why_unread(self, found: bytes) -> str:
        """Why this build can't read what is written; empty if it can."""
        key = self._runner.keys.layout
        if not found.isdigit():
            return f"the key {key} holds something other than the number of a layout"
        number = int(found)
        if number > self.newest:
            return f"{key} is {number}, and this build reads layouts up to {self.newest}: start a newer build"
        if number < self.oldest:
            return (
                f"{key} is {number}, and this build reads layouts from {self.oldest} on: "
                f"start a build of layout {number + 1} first"
            )
        return ""

    def announcement(self) -> tuple[int, int, int]:
        """For ``heartbeat.lua``: the oldest and newest layout that it reads, and the one to write if Redis has none."""
        return self.oldest, self.newest, self.written or self.newest
