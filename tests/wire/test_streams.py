"""Streams that open, idle and end in every way leave nothing behind."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import SECOND
from support.app import own_app
from support.wire import connect, event, ids, us

if TYPE_CHECKING:
    from support.server_process import ServerProcess
    from support.wire import Wire


async def test_streams_that_are_cancelled_leave_no_session(wire: Wire, topic: str) -> None:
    for _ in range(10):
        streams = [await wire.subscribe(topic, disconnect_grace=0) for _ in range(20)]
        await asyncio.gather(*(stream.cancel() for stream in streams))
    await wire.until_subscribers(topic, 0)
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    assert ids([await stream.one()]) == ["a"], "no ended session was given the event"


async def test_streams_that_are_cancelled_before_they_have_started_leave_no_session(wire: Wire, topic: str) -> None:
    await wire.subscribe(topic)
    for _ in range(100):
        call = wire.bus.Subscribe(event_bus_pb2.SubscribeRequest(topic=topic))
        await asyncio.sleep(0)
        call.cancel()
    await wire.until_subscribers(topic, 1)


async def test_a_connection_that_ends_ends_all_its_streams(wire: Wire, server: ServerProcess, topic: str) -> None:
    await wire.dispatch(topic, *[f"e{number}" for number in range(30)])
    async with connect(server.address) as vanished:
        streams = [await vanished.subscribe(topic, max_in_flight=3, disconnect_grace=0) for _ in range(10)]
        for stream in streams:
            await stream.take(3)
    await wire.until_subscribers(topic, 0)
    again = await (await wire.subscribe(topic)).take(30)
    assert sorted(ids(again)) == sorted(f"e{number}" for number in range(30))


async def test_streams_cancelled_in_a_flood_leave_nothing_behind(wire: Wire, topic: str) -> None:
    """The server is writing when the client goes, and more events are due."""
    for _ in range(8):
        await wire.dispatch(topic, *[event(data=b"x" * 4_000, max_retries=100) for _ in range(500)])
    for number in range(12):
        stream = await wire.subscribe(topic, max_in_flight=100, disconnect_grace=0)
        await stream.take(1 + number * 8)
        await stream.cancel()
    await wire.until_subscribers(topic, 0)
    rest = await wire.subscribe(topic, max_in_flight=4_000, max_in_flight_bytes=1 << 30)
    seen: set[str] = set()
    while len(seen) < 4_000:  # events that two of the streams have held are suspects, and come one by one
        frame = await rest.next_frame()
        assert frame is not None
        seen |= set(ids(frame.deliveries.deliveries))
        assert await wire.ack(*frame.deliveries.deliveries) == []
    assert (await wire.topic(topic)).queued == 0


async def test_a_client_that_does_not_read_holds_only_its_window_and_delays_no_one(
    wire: Wire, server: ServerProcess, topic: str
) -> None:
    """The server keeps the frames that do not fit into the buffers of the connection."""
    for _ in range(4):
        await wire.dispatch(topic, *[event(data=b"x" * 100_000) for _ in range(35)])
    async with connect(server.address) as lazy:
        call = lazy.bus.Subscribe(event_bus_pb2.SubscribeRequest(topic=topic, max_in_flight=100))
        assert (await call.read()).WhichOneof("frame") == "started"
        other = await wire.subscribe(topic)
        await wire.ack(*await other.take(40))
        in_flight = {each.session_id: each.in_flight for each in (await wire.group(topic)).subscribers}
        del in_flight[other.started.session_id]
        assert 0 < sum(in_flight.values()) <= 100
        call.cancel()
    await wire.until_subscribers(topic, 1)


async def test_an_idle_stream_gets_a_heartbeat_every_ten_seconds(topic: str) -> None:
    async with own_app() as (app, wire):
        stream = await wire.subscribe(topic, max_in_flight=1, lease=3_600)
        await wire.dispatch(topic, "held", "waits", "waits too", event("later", delay=3600))
        assert ids(await stream.take(1)) == ["held"]
        for _ in range(3):
            await app.advance(10 * SECOND - 1)
            await app.advance(1)
            frame = await stream.next_frame()
            assert frame is not None
            assert frame.heartbeat.backlog == 2
            assert us(frame.heartbeat.server_time) == app.clock.now_us(), "not before its time"


async def test_a_stream_with_deliveries_needs_no_heartbeat(topic: str) -> None:
    async with own_app() as (app, wire):
        stream = await wire.subscribe(topic)
        for number in range(5):
            await app.advance(9 * SECOND)
            await wire.dispatch(topic, f"e{number}")
            await wire.ack(await stream.one())
        assert {frame.WhichOneof("frame") for frame in stream.frames} == {"deliveries"}


async def test_sessions_wakers_and_timers_end_with_their_streams(topic: str) -> None:
    async with own_app() as (app, wire):
        for number in range(5):
            streams = [await wire.subscribe(f"{topic}.{each}", group=f"g{number}") for each in range(10)]
            assert len(app.streams._sessions) == 10
            await asyncio.gather(*(stream.cancel() for stream in streams))
            for each in range(10):
                await wire.until_subscribers(f"{topic}.{each}", 0, f"g{number}")
        assert (app.streams._sessions, app.streams._wakers, app.streams._open_in) == ({}, {}, {})
        timers = [timer for _, _, timer in app.clock._timers if timer._callback is not None]
        assert len(timers) == 1, "the reaper's timer"
