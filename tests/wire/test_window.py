"""The window: a slow worker never gets more than fits, however many events wait."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from duebus.v1 import event_bus_pb2
from support.wire import duration, event, ids

if TYPE_CHECKING:
    from support.wire import Stream, Wire

BURST = 5_000


def size_without_id(event: event_bus_pb2.Event) -> int:
    """How many bytes of a window an event occupies."""
    return event.ByteSize() - event_bus_pb2.Event(id=event.id).ByteSize()


@dataclass
class Watched:
    """A subscriber that acks at its own pace, and records how many it held at most."""

    wire: Wire
    stream: Stream
    most_events: int = 0
    most_bytes: int = 0
    seen: int = 0

    async def work(self, done: asyncio.Event, settled: set[str], total: int) -> None:
        """Hold the deliveries, ack half of them, read new ones, until all are settled."""
        held: list[event_bus_pb2.Delivery] = []
        while not done.is_set():
            held += self.stream.come() if held else await self._wait(done)
            self.most_events = max(self.most_events, len(held))
            self.most_bytes = max(self.most_bytes, sum(size_without_id(each.event) for each in held))
            half = len(held) // 2 + 1
            if held:
                assert await self.wire.ack(*held[:half]) == []
            self.seen += len(held[:half])
            settled.update(ids(held[:half]))
            held = held[half:]
            if len(settled) == total:
                done.set()

    async def _wait(self, done: asyncio.Event) -> list[event_bus_pb2.Delivery]:
        """The next deliveries; empty when all are done."""
        taking, ended = asyncio.ensure_future(self.stream.one()), asyncio.ensure_future(done.wait())
        await asyncio.wait((taking, ended), return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        if done.is_set():
            taking.cancel()
            return []
        return [taking.result(), *self.stream.come()]


async def work_off(wire: Wire, topic: str, streams: list[Stream], total: int) -> list[Watched]:
    """Let subscribers work until all events of the topic are settled."""
    watched = [Watched(wire, stream) for stream in streams]
    done, settled = asyncio.Event(), set[str]()
    await asyncio.gather(*(each.work(done, settled, total) for each in watched))
    assert (await wire.topic(topic)).queued == 0
    return watched


async def dispatch_burst(wire: Wire, topic: str, size: int = 0) -> None:
    for first in range(0, BURST, 1_000):
        await wire.dispatch(topic, *[event(f"e{first + number}", b"x" * size) for number in range(1_000)])


@pytest.mark.parametrize("max_in_flight", [1, 7, 64])
async def test_a_stream_gets_no_more_events_than_its_window(wire: Wire, topic: str, max_in_flight: int) -> None:
    stream = await wire.subscribe(topic, max_in_flight=max_in_flight)
    await wire.dispatch(topic, *[event() for _ in range(200)])
    (watched,) = await work_off(wire, topic, [stream], 200)
    assert watched.most_events <= max_in_flight


async def test_a_stream_gets_no_more_bytes_than_its_window(wire: Wire, topic: str) -> None:
    events = [event(f"e{number}", b"x" * (100 + number * 37 % 400)) for number in range(200)]
    await wire.dispatch(topic, *events)
    stream = await wire.subscribe(topic, max_in_flight_bytes=2_000)
    (watched,) = await work_off(wire, topic, [stream], 200)
    assert 1_000 < watched.most_bytes <= 2_000


async def test_an_event_larger_than_the_window_is_sent_alone(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, event("small", b"x"), event("large", b"x" * 5_000), event("last", b"x"))
    stream = await wire.subscribe(topic, max_in_flight_bytes=1_000)
    for name in ("small", "large", "last"):
        delivery = await stream.one()
        assert delivery.event.id == name
        assert (await wire.group(topic)).leased == 1
        await wire.ack(delivery)


async def test_a_burst_stays_within_the_windows_of_all_workers(wire: Wire, topic: str) -> None:
    """One group, windows of many sizes, and 5,000 events at once."""
    windows = [(1, 0), (5, 0), (64, 0), (1_000, 0), (1_000, 3_000), (3, 1_000)]
    streams = [await wire.subscribe(topic, max_in_flight=events, max_in_flight_bytes=size) for events, size in windows]
    await dispatch_burst(wire, topic, size=100)
    watched = await work_off(wire, topic, streams, BURST)
    for (events, size), each in zip(windows, watched, strict=True):
        assert each.most_events <= events
        assert each.most_bytes <= (size or 16 << 20)
        assert each.seen > 0, "every subscriber gets a share"
    assert sum(each.seen for each in watched) == BURST


async def test_a_worker_that_does_not_settle_gets_no_more(wire: Wire, topic: str) -> None:
    slow = await wire.subscribe(topic, max_in_flight=3)
    await dispatch_burst(wire, topic)
    assert len(await slow.take(3)) == 3
    other = await wire.subscribe(topic, max_in_flight=BURST)
    assert len(await other.take(BURST - 3)) == BURST - 3
    assert (await wire.group(topic)).leased == BURST
    subscribers = {each.session_id: each.in_flight for each in (await wire.group(topic)).subscribers}
    assert subscribers == {slow.started.session_id: 3, other.started.session_id: BURST - 3}
    assert len(slow.frames) == 1


async def test_every_end_of_a_lease_makes_room(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic, max_in_flight=1)
    await wire.dispatch(topic, "acked", "nacked", "dead", "expired", "last")
    await wire.ack(await stream.one())
    await wire.nack(await stream.one())
    await wire.nack(await stream.one(), dead_letter=True)
    expired = await stream.one()
    assert expired.event.id == "expired"
    assert await wire.extend(expired, lease=duration(0.2)) == []
    again = await stream.one()
    assert (again.event.id, again.attempt) == ("expired", 2)
    await wire.ack(again)
    assert (await stream.one()).event.id in ("last", "nacked")
