"""Which layout of keys and values a bus is written in, and how one build takes over from another.

``NS:layout`` is the number of the layout that is written. A build reads its own and the one before it. While a replica
that does not read the newest is alive, all write the one before; the heartbeat of the last one to read it moves the bus
on, in one step with the look at who is alive (``heartbeat.lua``). So two builds run side by side during a rolling
update, and until then one can roll back. ``DATA_MODEL.md`` has the rule for whoever changes a layout.
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
"""The layout that this build brings. Raised by whoever changes what is stored."""

OLD_SECRET_BYTES = 32
"""The size of the secret that builds from before layouts had numbers left behind."""


class Layouts:
    """The layouts of one replica.

    Args:
        runner: runs commands.
        newest: the number of the newest layout that it reads.

    Attributes:
        oldest: the number of the oldest layout that it reads.
        written: the number of the layout that is written now; 0 until Redis has told.
    """

    def __init__(self, runner: Runner, newest: int = LAYOUT) -> None:
        self._runner = runner
        self.newest = newest
        self.oldest = max(1, newest - 1)
        self.written = 0

    async def check(self) -> None:
        """Refuse what another build has written and this one does not read.

        Raises:
            UnusableStorage: so it is.
            DispatcherNotWorking: Redis is away, or refuses.
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
            self.heard(found)

    def heard(self, found: bytes) -> None:
        """Redis has told which layout is written.

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
        """Why this build can't read what is written; empty where it can."""
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
        """For ``heartbeat.lua``: the oldest and the newest that it reads, and which to write where there is none."""
        return self.oldest, self.newest, self.written or self.newest
