"""Extends the leases of one subscription while its deliveries are handled, wait, or are being settled."""

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Protocol

from duebus._core.enums import LeaseFailureReason
from duebus._core.model import LeaseFailure
from duebus.errors import DueBusError
from duebus.worker.faults import heals
from duebus.worker.held import HeldLeases
from duebus.worker.registry import Source

__all__ = ["LeaseKeeper"]

MAX_TOKENS = 10_000
# Seconds: after an extension that failed, and at the least, whatever the lease and the grace are.
_RETRY = 1.0
_SHORTEST = 0.02

_log = logging.getLogger("duebus.worker")


class ExtendingClient(Protocol):
    """The part of `duebus.aio.Client` that extends leases."""

    async def extend(self, deliveries: Sequence[str], lease: timedelta) -> list[LeaseFailure]:
        """Renews leases by lease token."""


class LeaseKeeper:
    """Renews the leases every third of a lease.

    While no stream is open it renews them every third of the disconnect grace: the server lets the leases of a stream
    that broke run out after that.
    """

    def __init__(self, client: ExtendingClient, source: Source, leases: HeldLeases, lease: timedelta) -> None:
        self._client = client
        self._source = source
        self._leases = leases
        self._lease = lease
        self._grace = lease
        self._attached = False
        self._detachment = asyncio.Event()
        self._failed = False

    def attached(self, lease: timedelta, disconnect_grace: timedelta) -> None:
        """A stream is open, and the server has renewed the leases that it was told of."""
        self._lease, self._grace = lease, disconnect_grace
        self._attached = True

    def detached(self) -> None:
        """The stream has ended."""
        self._attached = False
        self._detachment.set()

    async def run(self) -> None:
        """Extends until it is cancelled.

        Raises:
            DueBusError: One that does not heal.
        """
        while True:
            await self._wait()
            await self._extend_all()

    async def _wait(self) -> None:
        while True:
            self._detachment.clear()
            try:
                async with asyncio.timeout(self._period()):
                    await self._detachment.wait()
            except TimeoutError:
                return

    def _period(self) -> float:
        length = self._lease if self._attached else min(self._lease, self._grace)
        period = max(length.total_seconds() / 3, _SHORTEST)
        return min(period, _RETRY) if self._failed else period

    async def _extend_all(self) -> None:
        tokens = self._leases.extendable()
        self._failed = False
        for start in range(0, len(tokens), MAX_TOKENS):
            await self._extend(tokens[start : start + MAX_TOKENS])

    async def _extend(self, tokens: Sequence[str]) -> None:
        try:
            # An answer that comes later than this is of no use.
            async with asyncio.timeout(self._lease.total_seconds()):
                failures = await self._client.extend(tokens, self._lease)
        except (DueBusError, TimeoutError) as error:
            if isinstance(error, DueBusError) and not heals(error):
                raise
            self._failed = True
            _log.warning("%s: %d leases could not be extended: %s", self._source, len(tokens), error)
        else:
            self._drop(failures)

    def _drop(self, failures: Sequence[LeaseFailure]) -> None:
        """Lost leases; those of a stopped engine may yet be named on another replica."""
        tokens = [each.lease_token for each in failures if each.reason is not LeaseFailureReason.ENGINE_STOPPED]
        if lost := self._leases.lose(tokens):
            _log.warning("%s: %d leases were lost; their handlers are cancelled", self._source, lost)
