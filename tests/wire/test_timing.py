"""When events arrive: never early, and at most a few milliseconds late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from support.wire import connect, duration, event, figure, ids, us

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess
    from support.wire import Stream, Wire

LATE_MS = 500
"""Far more than needed, for busy machines; the tests report the actual lateness."""


def now_ms() -> float:
    """The test's clock. Like the server's, it is never set."""
    return time.monotonic() * 1_000


class Arrivals:
    """How late delayed events arrived.

    No event may arrive before its delay is over, counted from before it was sent. Its lateness counts from the
    server's answer.
    """

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.order: list[int] = []
        self.late_ms: list[float] = []

    async def dispatch(self, wire: Wire, topic: str, delays_ms: list[int]) -> None:
        """One event for each delay."""
        events = [event(f"{index}-{delay}", delay=delay / 1_000) for index, delay in enumerate(delays_ms)]
        self._sent_ms = now_ms()
        await wire.dispatch(topic, *events)
        self._stored_ms = now_ms()

    async def take(self, count: int) -> None:
        """The next ``count`` events."""
        for _ in range(count):
            delivery = await self._stream.one()
            arrived_ms = now_ms()
            delay_ms = int(delivery.event.id.partition("-")[2])
            assert us(delivery.deliver_at) == us(delivery.dispatched_at) + delay_ms * 1_000
            assert arrived_ms - self._sent_ms >= delay_ms, "never early"
            self.order.append(delay_ms)
            self.late_ms.append(arrived_ms - self._stored_ms - delay_ms)


def middle(times: list[float]) -> float:
    return sorted(times)[len(times) // 2]


async def test_an_event_without_a_delay_is_delivered_at_once(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    took_ms: list[float] = []
    for number in range(20):
        sent_ms = now_ms()
        await wire.dispatch(topic, f"e{number}")
        await wire.ack(await stream.one())
        took_ms.append(now_ms() - sent_ms)
    figure(f"dispatched, delivered and acked in {middle(took_ms):.2f} ms")
    assert middle(took_ms) < LATE_MS


async def test_delayed_events_are_never_early_and_not_late(wire: Wire, topic: str) -> None:
    arrivals = Arrivals(await wire.subscribe(topic))
    delays_ms = [300, 7, 150, 33, 33, 1, 80, 220, 33, 500]
    await arrivals.dispatch(wire, topic, delays_ms)
    await arrivals.take(len(delays_ms))
    figure(f"late by {middle(arrivals.late_ms):.2f} ms in the middle, {max(arrivals.late_ms):.2f} ms at most")
    assert arrivals.order == sorted(delays_ms)
    assert max(arrivals.late_ms) < LATE_MS


async def test_delivery_does_not_wait_for_a_sweep(wire: Wire, topic: str) -> None:
    """Events that are due at different times within a second arrive at different times."""
    arrivals = Arrivals(await wire.subscribe(topic))
    await arrivals.dispatch(wire, topic, [20 * number for number in range(50)])
    await arrivals.take(50)
    figure(f"late by {middle(arrivals.late_ms):.2f} ms in the middle, {max(arrivals.late_ms):.2f} ms at most")
    assert middle(arrivals.late_ms) < 100, "with a sweep once a second, the mean would be 500 ms"


async def test_an_event_can_be_due_at_a_time(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    moment = Timestamp()
    moment.FromMicroseconds(time.time_ns() // 1_000 + 200_000)
    await wire.dispatch(topic, event("a", deliver_at=moment), event("past", deliver_at=Timestamp(seconds=1)))
    past, delivery = await stream.take(2)
    assert (past.event.id, past.deliver_at) == ("past", past.dispatched_at)
    assert delivery.deliver_at == moment
    # The host's clock may drift a little from the server's.
    assert -50 < time.time_ns() / 1e6 - us(moment) / 1e3 < LATE_MS


async def test_an_earlier_event_overtakes_a_later_one(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, event("later", delay=0.25))
    await wire.dispatch(topic, event("sooner", delay=0.1))
    await wire.dispatch(topic, event("now"))
    assert ids(await stream.take(3)) == ["now", "sooner", "later"]


async def test_a_retry_is_on_time(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    first = await stream.one()
    nacked_ms = now_ms()
    await wire.nack(first, delay=duration(0.1))
    again = await stream.one()
    assert 100 <= now_ms() - nacked_ms < 100 + LATE_MS
    assert us(again.deliver_at) >= us(first.deliver_at) + 100_000


async def test_an_expired_lease_goes_to_a_waiting_worker_without_a_sweep(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    """The sweep is a minute away; a waiting worker gets the event when the lease runs out.

    With the usual sweep the holder, whose window is then empty again, might be the first to take the event back.
    """
    late_ms: list[float] = []
    async with connect(start_server("--sweep-interval", "1m").address) as wire:
        for number in range(5):
            name = f"{topic}.{number}"
            holder = await wire.subscribe(name, lease=0.1, max_in_flight=1)
            other = await wire.subscribe(name, max_in_flight=1)
            await wire.dispatch(name, "first", "second")
            first, second = await holder.one(), await other.one()
            leased_ms = now_ms()
            await wire.ack(second)
            again = await other.one()
            late_ms.append(now_ms() - leased_ms - 100)
            assert (again.event.id, again.attempt) == (first.event.id, 2)
            assert again.fencing_token > first.fencing_token
    figure(f"an expired lease was with another after {middle(late_ms):.2f} ms")
    assert middle(late_ms) < 300
