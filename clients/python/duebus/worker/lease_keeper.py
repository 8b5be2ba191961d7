"""Extends the leases of one subscription while its deliveries wait, are handled, or are being settled."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Protocol

from duebus._core.enums import LeaseFailureReason
from duebus._core.model import LeaseFailure
from duebus._core.retry import is_permanent
from duebus.errors import DueBusError
from duebus.worker.freshness import now
from duebus.worker.held import HeldLeases
from duebus.worker.outages import Outage
from duebus.worker.registry import Source

__all__ = ["LeaseKeeper"]

# Seconds between extensions: the longest after a failure, and the shortest, regardless of lease and grace.
_RETRY = 1.0
_SHORTEST = 0.02

_log = logging.getLogger("duebus.worker")


class ExtendingClient(Protocol):
    """The part of `duebus.aio.Client` that extends leases."""

    async def extend(self, deliveries: Sequence[str], lease: timedelta) -> list[LeaseFailure]:
        """Renews leases by lease token."""


class LeaseKeeper:
    """Renews the leases every third of a lease.

    While no stream is open it renews them every third of the disconnect grace, after which the leases of a broken
    stream run out.

    Args:
        lease: The lease to assume until a stream reports the one in force.
        extended: Called after each extension.
    """

    def __init__(
        self,
        client: ExtendingClient,
        source: Source,
        leases: HeldLeases,
        lease: timedelta,
        extended: Callable[[], None],
    ) -> None:
        self._extended = extended
        self._client = client
        self._source = source
        self._leases = leases
        self._lease = lease
        self._grace = lease
        self._attached = False
        self._woken = asyncio.Event()
        self._asked = False
        self._failed = False
        self._outage = Outage(f"{source}: leases can be extended again")

    def attached(self, lease: timedelta, disconnect_grace: timedelta) -> None:
        """A stream has opened, and the server has renewed the leases that were named to it."""
        self._lease, self._grace = lease, disconnect_grace
        self._attached = True

    def detached(self) -> None:
        """The stream has ended."""
        self._attached = False
        self._woken.set()

    def extend_now(self) -> None:
        """Extends at once, because some leases may have run out."""
        self._asked = True
        self._woken.set()

    async def run(self) -> None:
        """Extends until it is cancelled.

        Raises:
            DueBusError: An error that no retry can cure.
        """
        while True:
            await self._wait()
            await self._extend_all()

    async def _wait(self) -> None:
        """Waits a third of the lease, or until asked to extend now. The end of the stream shortens the wait."""
        while not self._asked:
            self._woken.clear()
            try:
                async with asyncio.timeout(self._period()):
                    await self._woken.wait()
            except TimeoutError:
                break
        self._asked = False

    def _period(self) -> float:
        length = self._lease if self._attached else min(self._lease, self._grace)
        period = max(length.total_seconds() / 3, _SHORTEST)
        return min(period, _RETRY) if self._failed else period

    async def _extend_all(self) -> None:
        tokens = self._leases.extendable()
        self._failed = False
        if tokens:
            await self._extend(tokens)

    async def _extend(self, tokens: Sequence[str]) -> None:
        began = now()
        try:
            # A later answer is useless.
            async with asyncio.timeout(self._lease.total_seconds()):
                failures = await self._client.extend(tokens, self._lease)
        except DueBusError as error:
            if is_permanent(error):
                raise
            self._note_failure(len(tokens), str(error))
        except TimeoutError:
            self._note_failure(len(tokens), f"no answer within {self._lease.total_seconds():g} s")
        else:
            self._outage.ended()
            self._drop(failures)
            self._leases.renew(tokens, began + self._lease.total_seconds())
            self._extended()

    def _note_failure(self, count: int, why: str) -> None:
        self._failed = True
        self._outage.failed("%s: %d leases could not be extended and will be retried: %s", self._source, count, why)

    def _drop(self, failures: Sequence[LeaseFailure]) -> None:
        """Handles lost leases. Those of a stopped engine may still be valid on another replica."""
        tokens = [each.lease_token for each in failures if each.reason is not LeaseFailureReason.ENGINE_STOPPED]
        if lost := self._leases.lose(tokens):
            _log.warning("%s: %d leases were lost; their handlers are cancelled", self._source, lost)
