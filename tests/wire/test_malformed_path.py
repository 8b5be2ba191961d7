"""A request whose path is not UTF-8 does no harm; a server that it kills is replaced."""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.http2 import raw_connection, request
from support.server_process import unpatched_server
from support.wire import SIGNAL_TIMEOUT_S, connect

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess

PATHS = [b"/a\xff\xfe", b"/duebus.v1.EventBus/Dispatch\xc3", b"\xff", b"/no.such.Service/Method"]

UNIMPLEMENTED = b"there is no such method"


@pytest.mark.parametrize("path", PATHS)
async def test_a_malformed_path_is_unimplemented_and_the_server_keeps_running(
    server: ServerProcess, topic: str, path: bytes
) -> None:
    async with raw_connection(server.address) as connection:
        for stream in (1, 3, 5):
            await connection.send(request(stream, path))
            trailers = await asyncio.wait_for(connection.trailers(stream), SIGNAL_TIMEOUT_S)
            assert UNIMPLEMENTED in trailers
    async with connect(server.address) as wire:
        await wire.dispatch(topic, "a")


async def test_the_health_port_keeps_working_too(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server("--health-listen", "127.0.0.1:0")
    health = server.logged(r"health on .*address=(\S+)")
    async with raw_connection(health) as connection:
        await connection.send(request(1, PATHS[0]))
        assert UNIMPLEMENTED in await asyncio.wait_for(connection.trailers(1), SIGNAL_TIMEOUT_S)
    async with grpc.aio.insecure_channel(health) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(
            health_pb2.HealthCheckRequest(), timeout=SIGNAL_TIMEOUT_S
        )
        assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_many_malformed_paths_at_once_delay_no_one(server: ServerProcess, topic: str) -> None:
    async with raw_connection(server.address) as connection, connect(server.address) as wire:
        await connection.send(*(request(stream, PATHS[0]) for stream in range(1, 2001, 2)))
        await asyncio.wait_for(wire.dispatch(topic, "a"), SIGNAL_TIMEOUT_S)
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            await connection.ends(1_000)


async def test_a_server_that_accepts_no_calls_reports_that_and_exits(tmp_path: Path) -> None:
    server = unpatched_server(tmp_path / "log")
    try:
        async with connect(server.address) as wire:
            await wire.subscribe("orders")  # an open stream does not keep the process alive
            await wire.dispatch("orders", "a")
            async with raw_connection(server.address) as connection:
                await connection.send(request(1, PATHS[0]))
                began = time.monotonic()
                assert await asyncio.to_thread(server.wait) == 1
                assert time.monotonic() - began < SIGNAL_TIMEOUT_S
    finally:
        server.close()
    log = server.log.read_text()
    assert re.search(r"error +\] the server no longer accepts calls", log)
    assert log.splitlines()[-1] == "duebus: the server stopped accepting calls; its log says why"
