"""Sends acks and nacks in batches.

A settle is sent at once if no call is running; settles during a call go into the next one. A settle that could not be
sent is retried for as long as its lease is held.
"""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol, TypeAlias

from duebus._core.backoff import Backoff
from duebus._core.batches import MAX_LEASES
from duebus._core.enums import LeaseFailureReason
from duebus._core.model import LeaseFailure, Nack
from duebus._core.retry import is_permanent
from duebus.errors import DueBusError
from duebus.worker.held import SETTLING, Held, HeldLeases
from duebus.worker.outages import Outage
from duebus.worker.outcome import instead_of_pause
from duebus.worker.tasks import until_first_ends

__all__ = ["Settler"]

# How many bytes a lease token, and a nack with its error of 4 KiB, take in a request at most.
ACK_BYTES = 256
NACK_BYTES = 5_120

_log = logging.getLogger("duebus.worker")


class SettlingClient(Protocol):
    """The part of `duebus.aio.Client` that settles."""

    @property
    def max_request_bytes(self) -> int:
        """The largest request."""

    async def ack(self, deliveries: Sequence[str]) -> list[LeaseFailure]:
        """Acks by lease token."""

    async def nack_many(self, nacks: Sequence[Nack]) -> list[LeaseFailure]:
        """Nacks, each with its own action."""


Settlement: TypeAlias = tuple[Held, HeldLeases, Nack | None]
"""A delivery to settle and the leases it belongs to; no nack means ack. A plain tuple, because each event has one."""


class Settler:
    """Settles the deliveries of all subscriptions of a worker."""

    def __init__(self, client: SettlingClient) -> None:
        self._client = client
        self._acks = _Lane("acks", self._send_acks, lambda: client.max_request_bytes // ACK_BYTES)
        self._nacks = _Lane("nacks", self._send_nacks, lambda: client.max_request_bytes // NACK_BYTES)

    def settle(self, held: Held, leases: HeldLeases, nack: Nack | None = None) -> None:
        """Acks or nacks a delivery."""
        held.stage = SETTLING
        lane = self._acks if nack is None else self._nacks
        lane.put((held, leases, nack))

    def retry_now(self) -> None:
        """Sends now what waits for the next try, because the server can be reached again."""
        self._acks.retry_now()
        self._nacks.retry_now()

    async def run(self) -> None:
        """Sends until it is cancelled.

        Raises:
            DueBusError: An error that no retry can cure; the leases that were not settled run out.
        """
        await until_first_ends(self._acks.run(), self._nacks.run())

    async def _send_acks(self, batch: Sequence[Settlement]) -> list[LeaseFailure]:
        return await self._client.ack([held.token for held, _, _ in batch])

    async def _send_nacks(self, batch: Sequence[Settlement]) -> list[LeaseFailure]:
        return await self._client.nack_many([nack for _, _, nack in batch if nack is not None])


class _Lane:
    """Settlements of one kind, one call at a time."""

    def __init__(
        self,
        name: str,
        send: Callable[[Sequence[Settlement]], Awaitable[list[LeaseFailure]]],
        most: Callable[[], int],
    ) -> None:
        self._name = name
        self._send = send
        self._most = most
        self._pending: deque[Settlement] = deque()
        self._wanted = asyncio.Event()
        self._retry = asyncio.Event()
        self._backoff = Backoff()
        self._outage = Outage(f"{name} can be sent again")

    def put(self, settlement: Settlement) -> None:
        self._pending.append(settlement)
        self._wanted.set()

    def retry_now(self) -> None:
        self._retry.set()

    async def run(self) -> None:
        while True:
            await self._wanted.wait()
            batch = self._take()
            if batch and not await self._deliver(batch):
                await self._pause()

    def _take(self) -> list[Settlement]:
        """The next batch, at least one, without those whose lease was lost meanwhile."""
        count = min(max(1, self._most()), MAX_LEASES, len(self._pending))
        batch = [self._pending.popleft() for _ in range(count)]
        if not self._pending:
            self._wanted.clear()
        return [each for each in batch if each[0].stage is SETTLING]

    async def _deliver(self, batch: list[Settlement]) -> bool:
        """Sends a batch. False if some of it must be retried."""
        self._retry.clear()
        try:
            failures = await self._send(batch)
        except DueBusError as error:
            if is_permanent(error):
                raise
            self._outage.failed("%d %s could not be sent and will be retried: %s", len(batch), self._name, error)
            self._put_back(batch)
            return False
        return self._conclude(batch, failures)

    def _conclude(self, batch: list[Settlement], failures: list[LeaseFailure]) -> bool:
        stopped = {each.lease_token for each in failures if each.reason is LeaseFailureReason.ENGINE_STOPPED}
        keyless = {each.lease_token for each in failures if each.reason is LeaseFailureReason.NO_KEY}
        for held, leases, nack in batch:
            if not failures:  # nearly always
                leases.discard(held)
            elif held.token in keyless and nack is not None:
                self.put((held, leases, instead_of_pause(nack)))
            elif held.token not in stopped:
                leases.discard(held)
        self._report([each for each in failures if each.lease_token not in keyless])
        if stopped:
            self._put_back([each for each in batch if each[0].token in stopped])
            return False
        self._backoff.reset()
        self._outage.ended()
        return True

    def _report(self, failures: list[LeaseFailure]) -> None:
        for reason, count in Counter(failure.reason for failure in failures).items():
            # A stopped engine is an outage: the settles are retried, and every try would write a line.
            warn = self._outage.failed if reason is LeaseFailureReason.ENGINE_STOPPED else _log.warning
            warn("%d %s were not carried out: %s", count, self._name, _MEANING[reason])

    def _put_back(self, batch: list[Settlement]) -> None:
        self._pending.extendleft(reversed(batch))
        self._wanted.set()

    async def _pause(self) -> None:
        try:
            async with asyncio.timeout(self._backoff.next()):
                await self._retry.wait()
        except TimeoutError:
            return


_MEANING = {
    LeaseFailureReason.EXPIRED: "the lease had run out; the event is delivered again",
    LeaseFailureReason.SETTLED: "the event is already settled, or was cancelled",
    LeaseFailureReason.MALFORMED: "the server does not know these leases",
    LeaseFailureReason.ENGINE_STOPPED: "the engine is stopped; they will be retried",
    LeaseFailureReason.NO_KEY: "the event has no key that could be paused",
    LeaseFailureReason.UNKNOWN: "for a reason this client is too old to know",
}
