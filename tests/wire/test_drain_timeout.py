"""Leases between the beginning and the end of a drain, by a clock that the test moves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
from duebus.v1 import event_bus_pb2
from duebus_server.domain.clock import SECOND
from support.app import own_app
from support.wire import SIGNAL_TIMEOUT_S, duration, failure_of, ids
from support.workers import settle_down

if TYPE_CHECKING:
    import pytest
    from support.app import OwnApp
    from support.wire import Stream, Wire

DRAINING = event_bus_pb2.Closing.REASON_DRAINING


async def draining(app: OwnApp, wire: Wire, stream: Stream, timeout_s: float) -> asyncio.Task[Any]:
    """A running Stop."""
    stopping = asyncio.ensure_future(wire.stop(drain_timeout=duration(timeout_s)))
    assert (await stream.closing()).reason == DRAINING
    await settle_down()
    assert app.streams._draining
    return stopping


async def test_releases_at_the_end_of_a_drain_count_no_attempt(topic: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with own_app() as (app, wire):
        stream = await wire.subscribe(topic, lease=60)
        await wire.dispatch(topic, "a")
        await wire.nack(await stream.one(), error="boom", delay=duration(0))
        assert (await stream.one()).attempt == 2
        seen: list[Any] = []
        stop_engine = app.engine.stop

        async def look_and_stop() -> None:
            (group,) = (await app.engine.get_event(topic, "a")).groups
            seen.append((group.state, group.attempts, group.last_error, [each.outcome for each in group.history]))
            await stop_engine()

        monkeypatch.setattr(app.engine, "stop", look_and_stop)
        stopping = await draining(app, wire, stream, 30)
        await app.advance(30 * SECOND - 1)
        assert not stopping.done()
        await app.advance(1)
        ((stopped,),) = await asyncio.wait_for(asyncio.gather(stopping), SIGNAL_TIMEOUT_S)
        assert (stopped.released, stopped.queued) == (1, 1)
        assert seen == [("ready", 1, "boom", ["nacked", "released"])]


async def test_a_drain_does_not_wait_for_a_lease_that_runs_out(topic: str) -> None:
    async with own_app() as (app, wire):
        stream = await wire.subscribe(topic, lease=5)
        await wire.dispatch(topic, "a")
        await stream.one()
        stopping = await draining(app, wire, stream, 60)
        for _ in range(7):
            await app.advance(SECOND)
        ((stopped,),) = await asyncio.wait_for(asyncio.gather(stopping), SIGNAL_TIMEOUT_S)
        assert (stopped.released, stopped.queued) == (0, 1)


async def test_an_event_due_during_a_drain_is_not_delivered(topic: str) -> None:
    async with own_app() as (app, wire):
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a", event_bus_pb2.Event(id="later", delay=duration(3)))
        delivery = await stream.one()
        stopping = await draining(app, wire, stream, 60)
        await app.advance(5 * SECOND)
        group = await wire.group(topic)
        assert (group.ready, group.leased) == (1, 1)
        await wire.ack(delivery)
        ((stopped,),) = await asyncio.wait_for(asyncio.gather(stopping), SIGNAL_TIMEOUT_S)
        assert (stopped.released, stopped.queued) == (0, 1)
        assert ids(stream.frames[0].deliveries.deliveries) == ["a"]


async def test_late_settles_report_a_stopped_engine(topic: str) -> None:
    """Between the end of the drain and that of the process."""
    async with own_app() as (app, wire):
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a", "b")
        a, b = await stream.take(2)
        stopping = await draining(app, wire, stream, 10)
        await wire.ack(a)
        await app.advance(10 * SECOND)
        await asyncio.wait_for(stopping, SIGNAL_TIMEOUT_S)
        for failures in (await wire.ack(a, b), await wire.nack(b), await wire.extend(b)):
            assert {each.reason for each in failures} == {event_bus_pb2.LeaseFailure.REASON_ENGINE_STOPPED}
        failure = await failure_of(wire.topic(topic))
        assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DISPATCHER_NOT_WORKING")
        ((stopped,),) = await asyncio.gather(wire.stop())
        assert stopped.released == 1, "stopping twice is harmless"


async def test_a_drain_waits_for_a_vanished_worker_until_the_timeout(topic: str) -> None:
    async with own_app() as (app, wire):
        stream = await wire.subscribe(topic, disconnect_grace=1)
        await wire.dispatch(topic, "a")
        await stream.one()
        stopping = await draining(app, wire, stream, 10)
        await stream.cancel()
        await app.advance(9 * SECOND)
        assert not stopping.done()
        await app.advance(SECOND)
        ((stopped,),) = await asyncio.wait_for(asyncio.gather(stopping), SIGNAL_TIMEOUT_S)
        assert (stopped.released, stopped.queued) == (1, 1)
