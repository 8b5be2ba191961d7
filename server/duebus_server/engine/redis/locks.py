"""Distributed locks: for work that only one replica should do at a time.

A lock is a key that expires, holding a value that only its holder knows
(https://redis.io/docs/latest/develop/use/patterns/distributed-locks/, on one Redis). A holder that was paused past the
expiry does not know that it lost the lock; its fencing number does: it grows with every acquisition, so what a lock
guards can refuse numbers that are smaller than one it has seen.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from duebus_server.domain.clock import MILLISECOND
from duebus_server.engine.redis.transport.scripts import Script

if TYPE_CHECKING:
    from duebus_server.engine.redis.transport.runner import Runner

LOCK_ACQUIRE, LOCK_RENEW, LOCK_RELEASE = map(Script, ("lock_acquire", "lock_renew", "lock_release"))


@dataclass(frozen=True, slots=True)
class HeldLock:
    """A lock as its holder knows it.

    Attributes:
        token: known to the holder alone.
        fencing_number: grows with every acquisition of the lock.
    """

    name: str
    token: str
    fencing_number: int


class Locks:
    """The locks of one bus.

    Raises, in all methods:
        DispatcherNotWorking: Redis is away, or refuses.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    async def acquire(self, name: str, expiry_us: int) -> HeldLock | None:
        """Take the lock for ``expiry_us`` microseconds; None when another holds it."""
        token = secrets.token_hex(16)
        fencing_number = await self._run(LOCK_ACQUIRE, name, token, expiry_us // MILLISECOND)
        return HeldLock(name, token, fencing_number) if fencing_number else None

    async def renew(self, lock: HeldLock, expiry_us: int) -> bool:
        """Hold it for ``expiry_us`` more from now; False when it was lost meanwhile."""
        return bool(await self._run(LOCK_RENEW, lock.name, lock.token, expiry_us // MILLISECOND))

    async def release(self, lock: HeldLock) -> bool:
        """Give it back; False when it was lost meanwhile, and then whoever holds it now keeps it."""
        return bool(await self._run(LOCK_RELEASE, lock.name, lock.token))

    async def _run(self, script: Script, name: str, *arguments: str | int) -> int:
        keys = self._runner.keys
        result: int = await self._runner.run_on(keys.lock(name), script, "", keys.fence(name), *arguments)
        return result
