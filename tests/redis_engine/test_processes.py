"""Several server processes behind one address: reached as one, stopped as one, and restarted when one dies."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING

import grpc.aio
import pytest
from duebus.aio import Client
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.builders import unique_name
from support.http2 import raw_connection, request
from support.http_port import HTTP, get, scrape, until_answered
from support.redis_server import RedisServer, free_port
from support.server_process import ServerProcess, assert_untroubled, unpatched_server
from support.start import CANNOT_SERVE, try_to_start
from support.web import Web
from support.wire import SIGNAL_TIMEOUT_S, connect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.redis_bus import RedisBus

COUNT = 3
DISPATCHES = ("duebus_rpcs_total", "OK", "duebus.v1.EventBus/Dispatch")


@pytest.fixture
def serve(tmp_path: Path, bus: RedisBus) -> Iterator[Callable[..., ServerProcess]]:
    """Starts a server of several processes on the test's Redis."""
    started: list[ServerProcess] = []

    def start(*flags: str, make: Callable[..., ServerProcess] = ServerProcess) -> ServerProcess:
        own = ("--engine", "redis", "--redis-url", bus.url, "--namespace", bus.namespace, "--processes", str(COUNT))
        server = make(tmp_path / f"server-{len(started)}.log", *own, *flags)
        started.append(server)
        return server

    yield start
    for server in started:
        server.close()
        if "UnicodeDecodeError" not in (log := server.log.read_text()):  # it ends an unpatched server
            assert_untroubled(log)


def test_a_signal_turns_on_debug_lines_in_every_process(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    server.process.send_signal(signal.SIGUSR1)
    deadline_s = time.monotonic() + SIGNAL_TIMEOUT_S
    while server.log.read_text().count("log level changed") < COUNT:
        assert time.monotonic() < deadline_s
        time.sleep(0.01)  # a file can't signal that it grows
    assert server.terminate() == 0


async def test_a_restarted_process_has_the_log_level_of_the_others(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    server.process.send_signal(signal.SIGUSR1)
    await until(lambda: server.log.read_text().count("log level changed") == COUNT)
    os.kill(children(server)[0], signal.SIGKILL)
    await until(lambda: server.log.read_text().count("log level changed") == COUNT + 1)
    assert server.terminate() == 0


async def test_one_scrape_has_the_sums_of_all_processes_and_they_do_not_go_back(
    serve: Callable[..., ServerProcess],
) -> None:
    server, topic = serve(*HTTP), unique_name()
    async with AsyncExitStack() as streams:
        for number in range(2 * COUNT):  # each over its own connection
            wire = await streams.enter_async_context(connect(server.address))
            await wire.dispatch(topic, f"e{number}")
            await wire.subscribe(topic)
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):  # a call is counted after its answer
            while (found := await scrape(server)).get(DISPATCHES) != 2 * COUNT:
                pass
        assert found["duebus_events_dispatched_total", "redis", topic] == 2 * COUNT
        assert found["duebus_rpc_duration_seconds_count", "duebus.v1.EventBus/Dispatch"] == 2 * COUNT
        assert found["duebus_streams", "redis"] == found["duebus_subscribers", "redis", "default", topic] == 2 * COUNT
        assert found["duebus_process_restarts_total",] == 0

        # when: a process is killed
        before = children(server)
        os.kill(before[0], signal.SIGKILL)
        await until(lambda: len(set(children(server)) - set(before)) == 1)
    found = await scrape(server)
    assert found["duebus_events_dispatched_total", "redis", topic] == found[DISPATCHES] == 2 * COUNT
    assert server.terminate() == 0


async def test_probes_speak_for_all_processes(serve: Callable[..., ServerProcess]) -> None:
    server = serve(*HTTP)
    for path in ("/healthz", "/readyz"):
        await until_answered(server, path, 200, "ok\n")

    # when: one hangs
    hung = children(server)[0]
    os.kill(hung, signal.SIGSTOP)
    status, reason = await get(server, "/healthz")
    assert (status, re.sub(r"\d", "N", reason)) == (503, "process N: does not answer\n")
    os.kill(hung, signal.SIGCONT)
    await until_answered(server, "/healthz", 200, "ok\n")

    # when: one ends, the others still take calls
    os.kill(hung, signal.SIGKILL)
    await until_answered(server, "/readyz", 200, "ok\n")
    assert server.terminate() == 0


async def test_the_port_of_the_health_service_is_shared(serve: Callable[..., ServerProcess]) -> None:
    server = serve("--health-listen", "127.0.0.1:0")
    addresses = re.findall(r"health on .*address=(\S+)", server.log.read_text())
    assert (len(addresses), len(set(addresses))) == (COUNT, 1)
    async with grpc.aio.insecure_channel(addresses[0]) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert server.terminate() == 0


def children(server: ServerProcess) -> list[int]:
    """The processes that serve: those of the parent's children that listen."""
    parent = server.process.pid
    found = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(pid) for pid in found if "spawn_main" in command_line(pid)]


def command_line(pid: str) -> str:
    """What a process was started with; empty once it has ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def is_there(pid: int) -> bool:
    """Whether a process has not ended."""
    return Path(f"/proc/{pid}").exists()


async def until(seen: Callable[[], bool]) -> None:
    """Wait for other processes; only the list of processes shows what they do."""
    async with asyncio.timeout(180):
        while not seen():  # noqa: ASYNC110  # the kernel sends no event
            await asyncio.sleep(0.01)


async def dispatch_over_new_connections(server: ServerProcess, topic: str, count: int) -> None:
    """Each over its own connection: the kernel spreads them over the processes."""
    for number in range(count):
        async with Client(server.address) as client:
            await client.dispatch(topic, number)


async def test_several_processes_share_the_port_of_http(serve: Callable[..., ServerProcess]) -> None:
    server, topic = serve("--web-listen", "127.0.0.1:0"), unique_name()
    for _ in range(2 * COUNT):  # each over its own connection
        assert (await asyncio.to_thread(Web(server.web).post, f"/v1/topics/{topic}/events", b"x")).status == 202
    async with Client(server.address) as client:
        assert (await client.admin.get_topic(topic)).queued == 2 * COUNT


async def test_several_processes_are_one_server_and_drain_together(serve: Callable[..., ServerProcess]) -> None:
    server, topic = serve(), unique_name()
    assert len(children(server)) == COUNT
    await dispatch_over_new_connections(server, topic, 20)
    async with Client(server.address) as client:
        assert (await client.admin.get_topic(topic)).queued == 20
    serving = children(server)
    assert server.terminate() == 0
    assert not any(map(is_there, serving))
    assert server.process.stdout is not None
    assert server.process.stdout.read() == "", "one ready line for all processes"


async def test_a_process_that_dies_is_restarted(serve: Callable[..., ServerProcess]) -> None:
    server, topic = serve(), unique_name()
    before = children(server)
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: len(set(children(server)) - set(before)) == 1)
    await dispatch_over_new_connections(server, topic, 20)
    async with Client(server.address) as client:
        assert (await client.admin.get_topic(topic)).queued == 20
    assert server.terminate() == 0


async def test_a_process_that_accepts_no_calls_is_replaced(serve: Callable[..., ServerProcess]) -> None:
    server, topic = serve(make=unpatched_server), unique_name()
    before = children(server)
    async with raw_connection(server.address) as connection:
        await connection.send(request(1, b"/\xff"))
        await until(lambda: len(set(children(server)) - set(before)) == 1)
    await until(lambda: len(children(server)) == COUNT)
    await dispatch_over_new_connections(server, topic, 20)
    assert server.terminate() == 0


async def test_a_process_that_dies_during_an_outage_of_redis_returns_with_it(
    start_redis: Callable[..., RedisServer], start_server: Callable[..., ServerProcess]
) -> None:
    redis, topic = start_redis("--appendonly", "yes"), unique_name()
    server = start_server("--engine", "redis", "--redis-url", redis.url, "--processes", "2")
    before = children(server)
    redis.kill()
    os.kill(before[0], signal.SIGKILL)
    await until(lambda: server.log.read_text().count("an engine is waiting for its storage") == 1)
    assert is_there(before[1])
    redis.restart()
    await until(lambda: server.log.read_text().count("the storage of an engine is available") == 1)
    assert server.log.read_text().count("will be restarted") == 1
    await dispatch_over_new_connections(server, topic, 10)
    assert server.terminate() == 0


async def test_without_their_parent_the_processes_drain(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    serving = children(server)
    server.kill()
    await until(lambda: not any(map(is_there, serving)))


async def test_a_stop_drains_all_processes(serve: Callable[..., ServerProcess]) -> None:
    server = serve()
    async with Client(server.address) as client:
        await client.stop()
    assert server.wait() == 0


def test_an_address_in_use_is_one_line(serve: Callable[..., ServerProcess], bus: RedisBus) -> None:
    server = serve()
    status, out, err = try_to_start(
        "--engine", "redis", "--redis-url", bus.url, "--processes", "2", "--listen", server.address
    )
    assert (status, out, err.count("\n")) == (CANNOT_SERVE, "", 1)
    assert err.startswith(f"duebus: can't listen on {server.address}: ")


def test_a_redis_that_refuses_one_process_ends_all(bus: RedisBus) -> None:
    url = bus.url.replace("redis://", "redis+cluster://").removesuffix("/0")
    status, out, err = try_to_start("--engine", "redis", "--redis-url", url, "--processes", "2")
    assert (status, out) == (CANNOT_SERVE, "")
    assert "duebus: engine redis: this Redis is not a cluster" in err
    assert "Traceback" not in err


async def test_the_server_is_ready_when_all_processes_are(
    start_redis: Callable[..., RedisServer], start_server: Callable[..., ServerProcess]
) -> None:
    port, topic = free_port(), unique_name()
    flags = ("--engine", "redis", "--redis-url", f"redis://127.0.0.1:{port}/0", "--processes", "2")
    server = start_server(*flags, is_ready=False)
    await until(lambda: server.log.read_text().count("an engine is waiting for its storage") == 2)
    start_redis(port=port)
    await asyncio.to_thread(server.wait_ready)
    await dispatch_over_new_connections(server, topic, 10)
    assert server.terminate() == 0
