"""A server that starts while Redis is unavailable listens, is not ready, and serves once Redis is available."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import grpc
import pytest
import redis
from grpc_health.v1 import health_pb2, health_pb2_grpc
from support.builders import unique_name
from support.redis_bus import until
from support.redis_server import RedisServer, free_port
from support.sentinel import sentinel_of
from support.server_process import ServerProcess, assert_untroubled
from support.start import CANNOT_SERVE
from support.wire import connect, failure_of, figure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from support.wire import Wire

WAITS, IS_THERE = "an engine is waiting for its storage", "the storage of an engine is available"


# --- ways in which Redis is unavailable; each yields its URL and a function that ends that ---


@contextmanager
def refused(_folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Nothing listens on the port."""
    port = free_port()
    started: list[RedisServer] = []
    yield f"redis://127.0.0.1:{port}/0", lambda: started.append(RedisServer(port=port))
    for server in started:
        server.close()


@contextmanager
def hangs(_folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A listener accepts connections and never answers. Redis then starts on its port."""
    listener = socket.create_server(("127.0.0.1", free_port()))
    port = listener.getsockname()[1]
    started: list[RedisServer] = []

    def come() -> None:
        listener.close()
        started.append(RedisServer(port=port))

    yield f"redis://127.0.0.1:{port}/0", come
    listener.close()
    for server in started:
        server.close()


@contextmanager
def loads(_folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """Redis is loading its data, which takes minutes unless the delay is removed."""
    server = RedisServer("--appendonly", "yes")
    with redis.Redis.from_url(server.url) as client:
        client.mset({f"key {number}": 2_000 * "x" for number in range(5_000)})
        client.execute_command("BGREWRITEAOF")
        while client.info("persistence")["aof_rewrite_in_progress"]:
            time.sleep(0.01)  # nothing signals it
    server.kill()
    slowly = ("--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024", "--appendonly", "yes")
    place = ("--port", str(server.port), "--bind", "127.0.0.1", "--dir", str(server.directory), "--save", "")
    server.process = subprocess.Popen(["redis-server", *place, *slowly], stdout=subprocess.DEVNULL, process_group=0)
    with redis.Redis.from_url(server.url) as client:
        yield server.url, lambda: client.config_set("key-load-delay", 0)
    server.close()


@contextmanager
def has_no_slots(_folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A cluster that is down, because no node has its slots."""
    server = RedisServer("--cluster-enabled", "yes", port=free_port(below=22_768))
    with redis.Redis.from_url(server.url) as client:
        slots = [str(slot) for slot in range(1 << 14)]
        yield f"redis+cluster://127.0.0.1:{server.port}", lambda: client.execute_command("CLUSTER ADDSLOTS", *slots)
    server.close()


def is_down(sentinel: Any) -> bool:
    """Whether the sentinel has found the primary down."""
    try:
        return bool(sentinel.sentinel_master("bus")["is_sdown"])
    except redis.ConnectionError:  # it starts
        return False


@contextmanager
def has_no_primary(folder: Path) -> Iterator[tuple[str, Callable[[], None]]]:
    """A sentinel whose primary is down."""
    primary = RedisServer()
    primary.kill()
    with sentinel_of(folder, primary.port) as port, redis.Redis(port=port) as sentinel:
        while not is_down(sentinel):
            time.sleep(0.01)  # nothing signals it
        yield f"redis+sentinel://127.0.0.1:{port}/bus", primary.restart
    primary.close()


ABSENCES: dict[str, tuple[Callable[[Path], AbstractContextManager[tuple[str, Callable[[], None]]]], str]] = {
    "refused": (refused, "Redis can't be reached"),
    "hangs": (hangs, "Redis does not answer"),
    "loads": (loads, "Redis is loading its data"),
    "cluster": (has_no_slots, "the Redis cluster is down"),
    "sentinel": (has_no_primary, "no sentinel names the primary"),
}
"""Each with the reason that is reported meanwhile."""


# --- the server ---


def flags(url: str, port: int) -> tuple[str, ...]:
    return ("--engine", "redis", "--redis-url", url, "--http-listen", f"127.0.0.1:{port}")


def ask(port: int, path: str) -> tuple[int, str]:
    """The answer of the HTTP port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=10) as answer:
            return answer.status, answer.read().decode().strip()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode().strip()


async def health(wire: Wire) -> str:
    """The status of the gRPC health service."""
    stub: Any = health_pb2_grpc.HealthStub(wire.channel)
    answer = await stub.Check(health_pb2.HealthCheckRequest())
    return str(health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status))


def logged(server: ServerProcess, words: str) -> int:
    """How many times a server has logged something."""
    return server.log.read_text().count(words)


@pytest.mark.parametrize("away", ABSENCES)
async def test_a_server_serves_once_redis_is_available(
    start_server: Callable[..., ServerProcess], tmp_path: Path, away: str
) -> None:
    make, reason = ABSENCES[away]
    with make(tmp_path) as (url, come):
        listen, http = f"127.0.0.1:{free_port()}", free_port()
        # when a server starts without Redis
        server = start_server(*flags(url, http), listen=listen, is_ready=False)
        await until(lambda: logged(server, WAITS) == 1, "the server to wait", 60)
        # then it listens, and reports why it is not ready
        async with connect(listen) as wire:
            topic = unique_name()
            assert await health(wire) == "NOT_SERVING"
            for call in (wire.dispatch(topic, "refused"), wire.topic(topic), wire.subscribe(topic), wire.ack("token")):
                failure = await failure_of(call)
                assert (failure.code, failure.reason) == (grpc.StatusCode.UNAVAILABLE, "DISPATCHER_NOT_WORKING")
                assert failure.message == f"engine redis: {reason}"
                assert failure.retry_after_us
            assert await asyncio.to_thread(ask, http, "readyz") == (503, f"engine redis: {reason}")
            assert await asyncio.to_thread(ask, http, "healthz") == (200, "ok")
            assert b"duebus_engine_up" in await asyncio.to_thread(scrape, http)
            # and when Redis is available, it serves
            await asyncio.to_thread(come)
            began = time.monotonic()
            await asyncio.to_thread(server.wait_ready)
            figure(f"ready {time.monotonic() - began:.2f} s after Redis ({away})")
            assert await health(wire) == "SERVING"
            await until(lambda: ask(http, "readyz") == (200, "ok"), "the probe")
            await wire.dispatch(topic, "event")
        assert (logged(server, WAITS), logged(server, IS_THERE)) == (1, 1)
        assert await asyncio.to_thread(server.terminate) == 0
        assert_untroubled(server.log.read_text())


def scrape(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        read: bytes = answer.read()
        return read


async def test_an_unknown_host_name_is_retried_and_a_stop_ends_that(
    start_server: Callable[..., ServerProcess],
) -> None:
    server = start_server(*flags("redis://redis.invalid/0", free_port()), is_ready=False)
    await until(lambda: logged(server, "engine redis: Redis can't be reached") == 1, "the server to wait", 60)
    assert await asyncio.to_thread(server.terminate) == 0
    assert server.process.stdout is not None
    assert server.process.stdout.read() == "", "it was never ready"


@pytest.mark.parametrize(
    ("options", "layout", "problem"),
    [
        (("--requirepass", "secret"), "", "Redis refuses the credentials"),
        ((), "99", "duebus:layout is 99, and this build reads layouts up to 1: start a newer build"),
        (("--cluster-enabled", "yes"), "", "this Redis is a cluster: use a redis+cluster:// URL"),
    ],
    ids=["password", "layout", "cluster"],
)
async def test_a_redis_that_becomes_available_but_is_unusable_ends_the_server(
    start_server: Callable[..., ServerProcess], options: tuple[str, ...], layout: str, problem: str
) -> None:
    # given a Redis that is unavailable
    redis_server = RedisServer(
        "--appendonly",
        "yes",
        *options,
        port=free_port(below=22_768),
        password="secret" if "--requirepass" in options else None,
    )
    if layout:
        with redis.Redis.from_url(redis_server.url) as client:
            client.set("duebus:layout", layout)
    redis_server.kill()
    server = start_server(*flags(redis_server.url, free_port()), is_ready=False)
    await until(lambda: logged(server, WAITS) == 1, "the server to wait", 60)
    # when it is available
    redis_server.restart()
    # then one line says why the server ends
    assert await asyncio.to_thread(server.wait) == CANNOT_SERVE
    assert server.log.read_text().splitlines()[-1] == f"duebus: engine redis: {problem}"
    redis_server.close()
