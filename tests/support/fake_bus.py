"""A bus in memory for the worker: it has the methods of `aio.Client` that a worker calls, and the test drives it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, Self, cast

from duebus._core.delivery import Delivery
from duebus._core.enums import ClosingReason, LeaseFailureReason
from duebus._core.frames import Closing, Deliveries, Frame, Started
from duebus._core.model import LeaseFailure, Nack
from duebus.v1 import event_bus_pb2

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from duebus.aio import Client

_numbers = count(1)


def delivery(
    event_id: str = "",
    *,
    attempt: int = 1,
    topic: str = "orders",
    group: str = "default",
    max_retries: int | None = None,
    data: bytes = b"secret payload",
    key: str = "",
    attributes: dict[str, str] | None = None,
) -> Delivery:
    """A delivery with its own lease."""
    number = next(_numbers)
    event = event_bus_pb2.Event(
        id=event_id or f"event-{number}", data=data, max_retries=max_retries, key=key, attributes=attributes
    )
    return Delivery(
        event_bus_pb2.Delivery(
            event=event, topic=topic, group=group, lease_token=f"lease-{number}", fencing_token=number, attempt=attempt
        )
    )


def deliveries(how_many: int) -> list[Delivery]:
    """``count`` deliveries of different events."""
    return [delivery() for _ in range(how_many)]


def failure(of: Delivery, reason: LeaseFailureReason) -> LeaseFailure:
    """The server's answer for a lease that it could not settle or extend."""
    return LeaseFailure(of.lease_token, reason)


def first_line(nack: Nack) -> str:
    """The message of its error, without the traceback."""
    return nack.error.splitlines()[0]


@dataclass
class Call:
    """A settle or an extension that the worker asked for.

    Attributes:
        at: When, on the loop's clock.
    """

    tokens: list[str]
    nacks: list[Nack] = field(default_factory=list)
    lease: timedelta | None = None
    at: float = field(default_factory=lambda: asyncio.get_running_loop().time())
    _answer: asyncio.Future[list[LeaseFailure]] = field(
        default_factory=lambda: asyncio.get_running_loop().create_future()
    )

    def answer(self, *failures: LeaseFailure) -> None:
        """Ends the call with OK."""
        self._answer.set_result(list(failures))

    def fail(self, error: Exception) -> None:
        """Ends the call with an error."""
        self._answer.set_exception(error)

    async def wait(self) -> list[LeaseFailure]:
        """The answer, for the caller."""
        return await self._answer


class Calls:
    """The calls of one method. They are answered with OK at once, unless the test answers them."""

    def __init__(self) -> None:
        self.by_hand = False
        self.made: list[Call] = []
        self._unseen: asyncio.Queue[Call] = asyncio.Queue()

    async def next(self) -> Call:
        """The next call that the test has not seen; waits for it."""
        return await self._unseen.get()

    @property
    def unseen(self) -> int:
        """The calls that the test has not seen."""
        return self._unseen.qsize()

    async def make(self, call: Call) -> list[LeaseFailure]:
        """For the client's method."""
        self.made.append(call)
        self._unseen.put_nowait(call)
        if not self.by_hand:
            call.answer()
        return await call.wait()


class FakeStream:
    """One subscription's stream, as the worker asked for it in `request`."""

    def __init__(self, bus: FakeBus, request: dict[str, Any]) -> None:
        self.request = request
        self.closed = asyncio.Event()
        self.opened_at = 0.0
        self._bus = bus
        self._frames: asyncio.Queue[Frame | Exception | None] = asyncio.Queue()

    @property
    def held(self) -> list[str]:
        """The lease tokens that the worker named."""
        return list(self.request["held_lease_tokens"])

    def deliver(self, *many: Delivery) -> None:
        """Sends a frame of deliveries."""
        self._frames.put_nowait(Deliveries(list(many)))

    def break_off(self, error: Exception) -> None:
        self._frames.put_nowait(error)

    def close(self, reconnect_after: float, reason: ClosingReason = ClosingReason.DRAINING) -> None:
        """The server ends the stream."""
        self._frames.put_nowait(Closing(reason, timedelta(seconds=reconnect_after)))
        self._frames.put_nowait(None)

    async def __aenter__(self) -> Self:
        self.opened_at = asyncio.get_running_loop().time()
        started = self._bus.admit(self)
        self._frames.put_nowait(started)
        if greeting := self._bus.take_greeting():
            self.deliver(*greeting)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.closed.set()

    async def frames(self) -> AsyncIterator[Frame]:
        """The frames that were sent, until the stream ends."""
        while (frame := await self._frames.get()) is not None:
            if isinstance(frame, Exception):
                raise frame
            yield frame


class FakeBus:
    """Streams to send deliveries on, and the settles and extensions that come back.

    Attributes:
        refusals: Errors for the next streams that are opened, one each. Empty: streams are accepted.
        greeting: Deliveries that the next stream sends when it opens.
        lost: Lease tokens that the next stream reports as lost.
        disconnect_grace: The grace that the server announces when a stream starts, in seconds.
        limited: Whether the group of new streams has limits.
    """

    def __init__(self) -> None:
        self.acks = Calls()
        self.nacks = Calls()
        self.extensions = Calls()
        self.refusals: list[Exception] = []
        self.refused: list[FakeStream] = []
        self.greeting: tuple[Delivery, ...] = ()
        self.lost: tuple[str, ...] = ()
        self.disconnect_grace = 1.0
        self.limited = False
        self.max_request_bytes = 4 << 20
        self._streams: asyncio.Queue[FakeStream] = asyncio.Queue()

    @property
    def client(self) -> Client:
        """This bus, typed as the client that the worker expects."""
        return cast("Client", self)

    async def stream(self) -> FakeStream:
        """The next stream that the worker opens."""
        return await self._streams.get()

    @property
    def unseen_streams(self) -> int:
        """The streams that the test has not seen."""
        return self._streams.qsize()

    def admit(self, stream: FakeStream) -> Started:
        """The first frame of new streams."""
        if self.refusals:
            self.refused.append(stream)
            raise self.refusals.pop(0)
        self._streams.put_nowait(stream)
        request, lost = stream.request, self.lost
        self.lost = ()
        group = request["group"] or "named-by-the-server"
        limits = request["max_in_flight"], 1 << 24, request["lease"], self._grace()
        return Started("session", *limits, lost, group=group, limited=self.limited)

    def take_greeting(self) -> tuple[Delivery, ...]:
        """For the stream that opens."""
        greeting, self.greeting = self.greeting, ()
        return greeting

    def _grace(self) -> timedelta:
        return timedelta(seconds=self.disconnect_grace)

    def subscribe(self, topic: str, **request: Any) -> FakeStream:
        """As in `aio.Client`."""
        return FakeStream(self, {"topic": topic, **request})

    async def ack(self, tokens: Iterable[str]) -> list[LeaseFailure]:
        """As in `aio.Client`."""
        return await self.acks.make(Call(list(tokens)))

    async def nack_many(self, nacks: Iterable[Nack]) -> list[LeaseFailure]:
        """As in `aio.Client`."""
        given = list(nacks)
        return await self.nacks.make(Call([str(each.delivery) for each in given], given))

    async def extend(self, tokens: Iterable[str], lease: timedelta) -> list[LeaseFailure]:
        """As in `aio.Client`."""
        return await self.extensions.make(Call(list(tokens), lease=lease))
