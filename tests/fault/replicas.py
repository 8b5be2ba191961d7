"""A worker's client of all replicas: streams go to each in turn, settles to any; everything is recorded."""

from __future__ import annotations

from itertools import count
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from duebus._aio.subscription import Subscription
from duebus._core.enums import lease_failure_reason_from_wire
from duebus._core.frames import Deliveries, Started
from duebus._core.settings import make_settings
from duebus.aio import Client
from fault.history import ACK, EXTEND, NACK

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import timedelta
    from random import Random

    from duebus._core.frames import Frame
    from duebus._core.model import LeaseFailure
    from duebus._core.model import Nack as NackOf
    from fault.journal import Journal

CALL_TIMEOUT_S = 5.0
OWN_REPLICA = 0.7
"""The share of settles that go to the replica of the stream."""


def open_client(address: str, *interceptors: Any) -> Client:
    """A client whose calls pass through interceptors of gRPC."""
    options = make_settings(address, None, None, None, ()).options
    channel = grpc.aio.insecure_channel(address, options=options, interceptors=interceptors)
    return Client(address, timeout=CALL_TIMEOUT_S, channel=channel)


class Replicas:
    """Has the methods of `aio.Client` that a worker calls.

    Args:
        addresses: of all replicas; a server that comes back keeps its address.
        first: the number of the replica of the first stream.
    """

    def __init__(self, addresses: list[str], first: int, journal: Journal, random: Random) -> None:
        self._recorder = CallRecorder(journal)
        self._clients = [open_client(address, self._recorder) for address in addresses]
        self._journal = journal
        self._random = random
        self._stream_numbers = count()
        self._own = first - 1

    @property
    def max_request_bytes(self) -> int:
        """The largest request that every replica accepts."""
        return min(client.max_request_bytes for client in self._clients)

    def subscribe(self, topic: str, **options: Any) -> Subscription:
        """A stream to the next replica."""
        self._own = (self._own + 1) % len(self._clients)
        stream = _Opened(self._journal, self._recorder, next(self._stream_numbers), str(self._own))
        # As Client.subscribe does, with the recording class.
        plain = self._clients[self._own].subscribe(topic, **options)
        return RecordedSubscription(plain, stream)

    async def ack(self, deliveries: Sequence[str]) -> list[LeaseFailure]:
        """At some replica."""
        return await self._any().ack(deliveries)

    async def nack_many(self, nacks: Sequence[NackOf]) -> list[LeaseFailure]:
        """At some replica."""
        return await self._any().nack_many(nacks)

    async def extend(self, deliveries: Sequence[str], lease: timedelta) -> list[LeaseFailure]:
        """At some replica."""
        return await self._any().extend(deliveries, lease)

    def _any(self) -> Client:
        own = self._random.random() < OWN_REPLICA
        return self._clients[self._own] if own else self._random.choice(self._clients)


class CallRecorder(grpc.aio.UnaryUnaryClientInterceptor):  # type: ignore[type-arg]  # generic in the stubs only
    """Records every try of a settle before it is made, and its answer."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._numbers = count()
        self.fences: dict[str, int] = {}

    async def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        number = next(self._numbers)
        verb, leases = self._leases(details.method, request)
        self._journal.write("call", call=number, verb=verb, leases=leases)
        call = await continuation(details, request)
        response = await call  # raises the call's error: its effect is then unknown
        failed = {
            self.fences[failure.lease_token]: lease_failure_reason_from_wire(failure.reason).name
            for failure in response.failures
        }
        self._journal.write("answer", call=number, failed=failed)
        return call

    def _leases(self, method: str | bytes, request: Any) -> tuple[str, list[dict[str, Any]]]:
        name = (method.decode() if isinstance(method, bytes) else method).rpartition("/")[2]
        if name == "Nack":
            return NACK, [self._nack(nack) for nack in request.nacks]
        fences = [{"fence": self.fences[token]} for token in request.lease_tokens]
        if name == "Ack":
            return ACK, fences
        return EXTEND, [{**fence, "lease": request.lease.ToMicroseconds()} for fence in fences]

    def _nack(self, nack: Any) -> dict[str, Any]:
        delay = nack.delay.ToMicroseconds() if nack.HasField("delay") else None
        how = {"delay": delay, "final": nack.dead_letter, "release": nack.release}
        return {"fence": self.fences[nack.lease_token], "error": nack.error, **how}


class _Opened:
    """The journal of one stream."""

    def __init__(self, journal: Journal, recorder: CallRecorder, number: int, server: str) -> None:
        self._journal = journal
        self._fences = recorder.fences
        self._number = number
        self._server = server
        self._lease_us = 0
        self._open = False

    def begins(self) -> None:
        self._open = True
        self._journal.write("stream", stream=self._number, server=self._server)

    def ends(self) -> None:
        if self._open:
            self._open = False
            self._journal.write("stream_end", stream=self._number)

    def came(self, frame: Frame) -> None:
        if isinstance(frame, Started):
            self._lease_us = round(frame.lease.total_seconds() * 1_000_000)
        elif isinstance(frame, Deliveries):
            self._deliveries(frame.deliveries)

    def _deliveries(self, deliveries: Iterable[Any]) -> None:
        for one in deliveries:
            message = one._message
            expires = message.lease_expires_at.ToMicroseconds()
            self._fences[one.lease_token] = one.fencing_token
            self._journal.write(
                "delivery",
                stream=self._number,
                name=one.json()["name"],
                event_id=one.event_id,
                fence=one.fencing_token,
                granted=expires - self._lease_us,
                expires=expires,
                due=message.deliver_at.ToMicroseconds(),
                attempt=one.attempt,
                last_error=one.last_error,
            )


class RecordedSubscription(Subscription):
    """A stream whose start, frames and end are recorded before the worker sees them."""

    def __init__(self, plain: Subscription, opened: _Opened) -> None:
        super().__init__(plain._connection, plain._request, plain._timeout)
        self._opened = opened

    async def __aenter__(self) -> RecordedSubscription:
        self._opened.begins()
        await super().__aenter__()
        return self

    async def close(self) -> None:
        self._opened.ends()
        await super().close()

    async def frames(self) -> AsyncIterator[Frame]:
        async for frame in super().frames():
            self._opened.came(frame)
            yield frame
