"""Stop and SIGTERM: no new work, settles until the end, the rest released, and the process ended."""

from __future__ import annotations

import asyncio
import signal
import time
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from duebus.v1 import event_bus_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.server_process import patient_server
from support.wire import SIGNAL_TIMEOUT_S, connect, duration, failure_of, figure, us

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.server_process import ServerProcess
    from support.wire import Wire

SERVICES = ["", "duebus.v1.EventBus", "duebus.v1.EventBusAdmin"]
DRAINING = event_bus_pb2.Closing.REASON_DRAINING
LOCAL: Any = "ENGINE_LOCAL"


async def health(wire: Wire, service: str = "") -> str:
    """The answer of the health service."""
    stub: Any = health_pb2_grpc.HealthStub(wire.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=service))
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


async def stop_by_rpc(wire: Wire, _server: ServerProcess) -> None:
    await wire.stop()


async def stop_by_sigterm(_wire: Wire, server: ServerProcess) -> None:
    server.process.send_signal(signal.SIGTERM)


async def stop_by_sigint(_wire: Wire, server: ServerProcess) -> None:
    server.process.send_signal(signal.SIGINT)


WAYS = [stop_by_rpc, stop_by_sigterm, stop_by_sigint]


@pytest.fixture
def patient(tmp_path: Path) -> Iterator[ServerProcess]:
    """A server that ends after a minute if anything holds it up."""
    server = patient_server(tmp_path / "patient.log", "--drain-timeout", "60s")
    yield server
    server.close()


async def exit_status(server: ServerProcess) -> int:
    return await asyncio.to_thread(server.wait)


@pytest.mark.parametrize("way", WAYS)
async def test_a_server_without_leases_ends_at_once_with_status_0(patient: ServerProcess, topic: str, way: Any) -> None:
    async with connect(patient.address) as wire:
        streams = [await wire.subscribe(topic, group=group) for group in ("billing", "audit")]
        await wire.dispatch(f"{topic}.waits", "a")
        begun = time.monotonic()
        stopping = asyncio.ensure_future(way(wire, patient))
        for stream in streams:
            closing = await stream.closing()
            assert (closing.reason, us(closing.reconnect_after)) == (DRAINING, 1_000_000)
        assert await exit_status(patient) == 0
        took_s = time.monotonic() - begun
        figure(f"ended after {took_s:.2f} s")
        assert took_s < SIGNAL_TIMEOUT_S
        await asyncio.wait_for(stopping, SIGNAL_TIMEOUT_S)


@pytest.mark.parametrize("way", [stop_by_rpc, stop_by_sigterm])
async def test_a_draining_server_accepts_settles_and_nothing_new(
    start_server: Callable[..., ServerProcess], topic: str, way: Any
) -> None:
    server = start_server("--drain-timeout", "60s")
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "acked", "nacked", "extended")
        acked, nacked, extended = await stream.take(3)
        await wire.dispatch(f"{topic}.waits", "a")
        assert [await health(wire, service) for service in SERVICES] == ["SERVING"] * 3

        stopping = asyncio.ensure_future(way(wire, server))
        await stream.closing()
        assert [await health(wire, service) for service in SERVICES] == ["NOT_SERVING"] * 3
        refused = [
            await failure_of(wire.dispatch(topic, "more")),
            await failure_of(wire.open(event_bus_pb2.SubscribeRequest(topic=topic)).next_frame()),
        ]
        for failure in refused:
            assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DISPATCHER_NOT_WORKING")
            assert (failure.metadata, failure.retry_after_us) == ({"engine": "local"}, 1_000_000)
        assert (await wire.topic(topic)).queued == 3, "the engine can still be inspected"

        assert await wire.ack(acked) == []
        assert await wire.extend(extended, lease=duration(60)) == []
        assert await wire.nack(nacked, release=True) == []
        assert server.process.poll() is None
        assert await wire.ack(extended) == []
        assert await exit_status(server) == 0
        await asyncio.wait_for(stopping, SIGNAL_TIMEOUT_S)


async def test_stop_reports_what_was_released_and_what_is_left(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server()
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic, max_in_flight=5)
        await wire.dispatch(topic, *[f"e{number}" for number in range(8)])
        held = await stream.take(5)
        await wire.nack(held[0], dead_letter=True)
        held += await stream.take(1)
        await wire.ack(held[1])
        held += await stream.take(1)
        (stopped,) = await wire.stop(drain_timeout=duration(0.2), engines=[LOCAL])
        assert (stopped.engine, stopped.released, stopped.queued) == (event_bus_pb2.ENGINE_LOCAL, 5, 6)
    assert await exit_status(server) == 0


async def test_a_drain_timeout_of_zero_waits_for_nothing(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--drain-timeout", "60s")
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a", "b")
        await stream.take(2)
        (stopped,) = await wire.stop(drain_timeout=duration(0))
        assert (stopped.released, stopped.queued) == (2, 2)
        await stream.closing()
    assert await exit_status(server) == 0


async def test_the_drain_timeout_setting_applies_to_signals(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--drain-timeout", "500ms")
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a")
        await stream.one()
        begun = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        await stream.closing()
        assert await exit_status(server) == 0
        assert 0.5 <= time.monotonic() - begun < SIGNAL_TIMEOUT_S
    assert "released=1" in server.log.read_text()


async def test_concurrent_stops_and_signals_are_one_drain(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--drain-timeout", "60s")
    async with connect(server.address) as wire, connect(server.address) as other:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a")
        delivery = await stream.one()
        await other.channel.channel_ready()  # otherwise the drain may end before it has connected
        stops = [asyncio.ensure_future(each.stop()) for each in (wire, other, wire)]
        await stream.closing()
        server.process.send_signal(signal.SIGTERM)
        server.process.send_signal(signal.SIGTERM)
        assert not any(stop.done() for stop in stops)
        assert await wire.ack(delivery) == []
        answers = await asyncio.wait_for(asyncio.gather(*stops), SIGNAL_TIMEOUT_S)
        assert [(stopped.released, stopped.queued) for (stopped,) in answers] == [(0, 0)] * 3
    assert await exit_status(server) == 0
    assert server.log.read_text().count("draining") == 1


async def test_cancelling_a_stop_does_not_cancel_the_drain(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--drain-timeout", "60s")
    async with connect(server.address) as wire:
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a")
        delivery = await stream.one()
        stopping = wire.bus.Stop(event_bus_pb2.StopRequest())
        await stream.closing()
        stopping.cancel()
        assert (await failure_of(wire.dispatch(topic, "b"))).reason == "DISPATCHER_NOT_WORKING"
        assert await wire.ack(delivery) == []
        assert await exit_status(server) == 0


async def test_a_client_that_does_not_read_does_not_delay_the_end(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    """Its closing frame can't be sent, so it is cut off a few seconds after the drain."""
    server = start_server("--drain-timeout", "0s")
    async with connect(server.address) as wire:
        events = [event_bus_pb2.Event(data=b"x" * 500_000) for _ in range(6)]
        await wire.dispatch(topic, *events)
        call = wire.bus.Subscribe(event_bus_pb2.SubscribeRequest(topic=topic))
        await call.read()
        begun = time.monotonic()
        (stopped,) = await wire.stop()
        assert stopped.released == 6
        assert await exit_status(server) == 0
        assert time.monotonic() - begun < SIGNAL_TIMEOUT_S


async def test_health_watchers_are_told_of_the_drain_and_do_not_delay_the_end(
    patient: ServerProcess, topic: str
) -> None:
    async with connect(patient.address) as wire:
        stub: Any = health_pb2_grpc.HealthStub(wire.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service="duebus.v1.EventBus"))
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVING
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a")
        delivery = await stream.one()
        patient.process.send_signal(signal.SIGTERM)
        change = await asyncio.wait_for(watch.read(), SIGNAL_TIMEOUT_S)
        assert change.status == health_pb2.HealthCheckResponse.NOT_SERVING
        begun = time.monotonic()
        assert await wire.ack(delivery) == []
        assert await exit_status(patient) == 0
        took_s = time.monotonic() - begun
        figure(f"ended after {took_s:.2f} s")
        assert took_s < SIGNAL_TIMEOUT_S


async def test_a_new_server_can_use_the_port_afterwards(start_server: Callable[..., ServerProcess], topic: str) -> None:
    first = start_server()
    async with connect(first.address) as wire:
        await wire.subscribe(topic)
        await wire.stop()
        assert await exit_status(first) == 0
        second = start_server(listen=first.address)
        assert second.address == first.address
    async with connect(second.address) as wire:
        await wire.dispatch(topic, "a")
