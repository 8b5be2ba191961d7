"""Callers without credentials can use little of a server, and never crowd out callers with credentials."""

from __future__ import annotations

import asyncio
import gzip
import re
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
import pytest
from duebus.keda import externalscaler_pb2, externalscaler_pb2_grpc
from duebus.v1 import admin_pb2, event_bus_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.http2 import (
    DATA,
    END_STREAM,
    SETTINGS,
    RawConnection,
    frame,
    message,
    raw_connection,
    request_headers,
)
from support.server_process import ServerProcess
from support.wire import SIGNAL_TIMEOUT_S, connect, figure

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from support.wire import Wire

MAX_MORE_MIB = 128

DISPATCH, UNKNOWN = b"/duebus.v1.EventBus/Dispatch", b"/no.such.Service/Method"
CHECK, WATCH = b"/grpc.health.v1.Health/Check", b"/grpc.health.v1.Health/Watch"

SERVICES = (
    event_bus_pb2.DESCRIPTOR.services_by_name["EventBus"],
    admin_pb2.DESCRIPTOR.services_by_name["EventBusAdmin"],
    externalscaler_pb2.DESCRIPTOR.services_by_name["ExternalScaler"],
    health_pb2.DESCRIPTOR.services_by_name["Health"],
)

PATHS = [f"/{service.full_name}/{method.name}".encode() for service in SERVICES for method in service.methods]

BOMB = gzip.compress(bytes(15 << 20), 9)
GZIP = (b"grpc-encoding", b"gzip")
LONG_HEADERS = [(b"x%d" % number, b"y" * 120) for number in range(60)]


@pytest.fixture
def guarded(start_server: Callable[..., ServerProcess], tmp_path: Path) -> ServerProcess:
    """A server with one token, which no caller has."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"nobody sha256:{'0' * 64}\n")
    tokens.chmod(0o600)
    return start_server("--tokens-file", str(tokens))


def memory_mib(server: ServerProcess, kind: str) -> int:
    """``VmRSS``: its resident memory; ``VmHWM``: the peak."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(re.search(rf"{kind}:\s+(\d+)", status)[1]) >> 10  # type: ignore[index]  # every process has them


def in_frames(stream: int, body: bytes, *, last: bool = True) -> Iterator[bytes]:
    """A body in the largest frames that HTTP/2 allows."""
    for start in range(0, len(body), 16 << 10):
        ends = last and start + (16 << 10) >= len(body)
        yield frame(DATA, END_STREAM if ends else 0, stream, body[start : start + (16 << 10)])


async def send(connection: RawConnection, *frames: bytes) -> bool:
    """Whether the server read it."""
    with suppress(OSError, TimeoutError):
        await asyncio.wait_for(connection.send(*frames), 2)
        return True
    return False


async def each_connection(address: str, count: int, attack: Callable[[RawConnection], Awaitable[Any]]) -> None:
    """Attack over several connections at once, and hold them for a moment."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(raw_connection(address)) for _ in range(count)]
        await asyncio.gather(*map(attack, connections))
        await asyncio.sleep(1)  # the server sends no signal when the data takes effect


async def bombs(address: str, path: bytes) -> None:
    """200 requests of 15 KiB that inflate to 15 MiB."""

    async def attack(connection: RawConnection) -> None:
        for stream in range(1, 401, 2):
            body = in_frames(stream, message(BOMB, compressed=True))
            await send(connection, request_headers(stream, path, GZIP), *body)

    await each_connection(address, 1, attack)


async def large_messages(address: str, path: bytes) -> None:
    """1,000 requests that announce 15 MiB, and send as much as the server reads."""

    async def attack(connection: RawConnection) -> None:
        body = b"\0" + (15 << 20).to_bytes(4, "big") + bytes(60_000)
        for stream in range(1, 101, 2):
            if not await send(connection, request_headers(stream, path), *in_frames(stream, body, last=False)):
                return
        for _ in range(20):
            for stream in range(1, 101, 2):
                if not await send(connection, *in_frames(stream, bytes(60_000), last=False)):
                    return

    await each_connection(address, 20, attack)


async def many_calls(address: str, path: bytes, *headers: tuple[bytes, bytes], body: bytes = b"") -> None:
    """20,000 calls that do not end, whose answers are never read."""

    async def attack(connection: RawConnection) -> None:
        for stream in range(1, 2001, 2):
            data = frame(DATA, 0, stream, body) if body else b""
            if not await send(connection, request_headers(stream, path, *headers), data):
                return

    await each_connection(address, 20, attack)


async def bodies(address: str, paths: Sequence[bytes], calls: int, size: int) -> None:
    """Many calls on each of 40 connections, with bodies that fit into the window of a stream."""
    body = message(bytes(size))

    async def attack(connection: RawConnection) -> None:
        for number in range(calls):
            stream = 2 * number + 1
            if not await send(
                connection, request_headers(stream, paths[number % len(paths)]), *in_frames(stream, body)
            ):
                return

    await each_connection(address, 40, attack)


async def calls_of_all_methods(address: str) -> None:
    """20,000 calls with long headers, of each method in turn."""

    async def attack(connection: RawConnection) -> None:
        for number in range(1_000):
            path = PATHS[number % len(PATHS)]
            if not await send(connection, request_headers(2 * number + 1, path, *LONG_HEADERS)):
                return

    await each_connection(address, 20, attack)


async def wrong_messages(address: str, path: bytes) -> None:
    """50 requests of 15 MiB, one after the other, that can't be parsed."""
    options = (("grpc.max_send_message_length", -1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        call: Any = channel.unary_unary(path.decode())  # type: ignore[call-arg]  # bytes need no serializers
        for _ in range(50):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"\xff" * (15 << 20), timeout=SIGNAL_TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def connections(address: str) -> None:
    """As many connections as a process may have open files."""

    async def attack(_connection: RawConnection) -> None:
        pass

    await each_connection(address, 900, attack)


@pytest.mark.parametrize(
    "attack",
    [
        pytest.param(lambda address: bombs(address, DISPATCH), id="bombs"),
        pytest.param(lambda address: bombs(address, CHECK), id="bombs for the health"),
        pytest.param(lambda address: large_messages(address, DISPATCH), id="large messages"),
        pytest.param(lambda address: large_messages(address, CHECK), id="large messages for the health"),
        pytest.param(lambda address: large_messages(address, UNKNOWN), id="large messages for nothing"),
        pytest.param(lambda address: wrong_messages(address, CHECK), id="wrong messages for the health"),
        pytest.param(lambda address: many_calls(address, DISPATCH), id="calls"),
        pytest.param(lambda address: many_calls(address, DISPATCH, *LONG_HEADERS), id="long headers"),
        pytest.param(lambda address: many_calls(address, CHECK, body=b"\0\0\0\0\1"), id="slow bodies"),
        pytest.param(lambda address: many_calls(address, WATCH, body=message(b"")), id="watchers"),
        pytest.param(lambda address: many_calls(address, UNKNOWN), id="unknown methods"),
        pytest.param(lambda address: bodies(address, [DISPATCH], 1_800, 16_000), id="bodies"),
        pytest.param(lambda address: bodies(address, [DISPATCH], 600, 60_000), id="large bodies"),
        pytest.param(lambda address: bodies(address, PATHS, 600, 60_000), id="large bodies for all methods"),
        pytest.param(calls_of_all_methods, id="long headers for all methods"),
        pytest.param(connections, id="connections"),
    ],
)
async def test_callers_without_credentials_cost_little_memory(
    guarded: ServerProcess, attack: Callable[[str], Awaitable[None]], request: pytest.FixtureRequest
) -> None:
    before = memory_mib(guarded, "VmRSS")
    await attack(guarded.address)
    more = memory_mib(guarded, "VmHWM") - before
    figure(f"{request.node.callspec.id}: {more} MiB more")
    assert more <= MAX_MORE_MIB
    async with grpc.aio.insecure_channel(guarded.address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=SIGNAL_TIMEOUT_S
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize(("fixture", "window_bytes"), [("guarded", 8 << 10), ("server", (1 << 16) - 1)])
async def test_messages_are_held_back_only_where_credentials_are_needed(
    fixture: str, window_bytes: int, request: pytest.FixtureRequest
) -> None:
    initial_window_size = b"\0\4"
    server: ServerProcess = request.getfixturevalue(fixture)
    async with raw_connection(server.address) as connection:
        kind, _, _, payload = await asyncio.wait_for(connection.frame(), SIGNAL_TIMEOUT_S)
    settings = {payload[start : start + 2]: payload[start + 2 : start + 6] for start in range(0, len(payload), 6)}
    assert kind == SETTINGS
    assert int.from_bytes(settings.get(initial_window_size, b"\0\0\xff\xff"), "big") == window_bytes


async def test_wrong_requests_are_not_kept_in_memory(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    before = memory_mib(server, "VmRSS")
    await wrong_messages(server.address, DISPATCH)
    more = memory_mib(server, "VmHWM") - before
    figure(f"{more} MiB more")
    assert more <= MAX_MORE_MIB


async def test_slow_probes_do_not_delay_others(server: ServerProcess) -> None:
    async with raw_connection(server.address) as connection:
        for stream in range(1, 21, 2):
            await connection.send(request_headers(stream, CHECK), frame(DATA, 0, stream, b"\0\0\0\0\1"))
        await asyncio.wait_for(connection.trailers(19), SIGNAL_TIMEOUT_S)  # one is answered without being read
        async with grpc.aio.insecure_channel(server.address) as channel:
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=SIGNAL_TIMEOUT_S)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
        trailers = await asyncio.wait_for(connection.trailers(1), SIGNAL_TIMEOUT_S)
        assert b"no request arrived within 1 s" in trailers


async def test_compressed_requests_are_refused(wire: Wire, topic: str) -> None:
    dispatch = wire.raw("EventBus/Dispatch")
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await dispatch(bytes(1 << 20), compression=grpc.Compression.Gzip)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_a_thousand_calls_at_once_are_all_answered(server: ServerProcess, topic: str) -> None:
    async with connect(server.address) as wire:
        await wire.dispatch(topic, "first")
        await asyncio.gather(*(wire.dispatch(topic, f"event-{number}") for number in range(1_000)))


async def test_the_settles_of_many_workers_at_once_are_all_answered(server: ServerProcess, topic: str) -> None:
    async with connect(server.address) as wire:
        await wire.dispatch(topic, "first")
        for settle in (wire.ack, wire.nack, wire.extend):
            await asyncio.gather(*(settle(f"token-{number}") for number in range(200)))


async def test_calls_of_an_operator_and_of_a_scaler_at_once_are_all_answered(server: ServerProcess, topic: str) -> None:
    async with connect(server.address) as wire:
        await wire.dispatch(topic, "first")
        await asyncio.gather(*(wire.topic(topic) for _ in range(36)))
    async with grpc.aio.insecure_channel(server.address) as channel:
        scaler: Any = externalscaler_pb2_grpc.ExternalScalerStub(channel)  # type: ignore[no-untyped-call]  # generated
        ref = externalscaler_pb2.ScaledObjectRef(scalerMetadata={"topic": topic, "group": "workers"})
        await scaler.IsActive(ref)
        await asyncio.gather(*(scaler.StreamIsActive(ref).read() for _ in range(36)))


async def test_the_reason_of_a_peer_that_leaves_is_not_logged_raw(tmp_path: Path) -> None:
    """gRPC's own log would have it, with control sequences."""
    server = ServerProcess(tmp_path / "log", module="duebus_server.__main__")  # without the environment of the tests
    goaway, ping = 7, 6
    try:
        async with raw_connection(server.address) as connection, asyncio.timeout(SIGNAL_TIMEOUT_S):
            reason = bytes(4) + (2).to_bytes(4, "big") + b"\x1b]0;owned\x07\xff"
            await connection.send(frame(goaway, 0, 0, reason), frame(ping, 0, 0, bytes(8)))
            while (await connection.frame())[0] != ping:
                pass
    finally:
        server.close()
    assert b"owned" not in server.log.read_bytes()
