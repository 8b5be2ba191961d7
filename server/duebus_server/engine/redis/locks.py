"""Distributed locks: for work that only one replica should do at a time.

A lock is a key that expires, holding a value that only its holder knows
(https://redis.io/docs/latest/develop/use/patterns/distributed-locks/, on one Redis). A holder that was paused past the
expiry does not know that it has lost the lock, so work done under a lock must be safe to do twice.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duebus_server.domain.clock import MILLISECOND
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from duebus_server.engine.redis.transport.runner import Runner

LOCK_ACQUIRE, LOCK_RELEASE = map(Script, ("lock_acquire", "lock_release"))


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A held lock.

    Attributes:
        token: known only to the holder.
    """

    name: str
    token: str


class Locks:
    """The locks of one bus.

    Raises, in all methods:
        DispatcherNotWorking: Redis can't be reached or refuses the command.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def acquire(self, name: str, expiry_us: int) -> HeldLock | None:
        """Take the lock for ``expiry_us`` microseconds; None if another replica holds it."""
        lock = HeldLock(name, secrets.token_hex(16))
        key = self._runner.keys.lock(name)
        taken = await self._runner.run_on([key], LOCK_ACQUIRE, "", lock.token, expiry_us // MILLISECOND)
        return lock if taken else None

    async def release(self, lock: HeldLock) -> bool:
        """Release it. False if it was lost meanwhile; its new holder then keeps it."""
        return bool(await self._runner.run_on([self._runner.keys.lock(lock.name)], LOCK_RELEASE, "", lock.token))
