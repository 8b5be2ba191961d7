"""Worker processes that are killed by an event, or hang: no other event dies because of it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.wire import SIGNAL_TIMEOUT_S, connect, event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duebus.v1 import admin_pb2
    from support.server_process import ServerProcess
    from support.wire import Wire

WORKER = """
import os, sys, time
from duebus import Worker
address, topic, concurrency, lease_s = sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])
worker = Worker(address, concurrency=concurrency, prefetch=16, lease=lease_s)
@worker.on(topic)
def handle(delivery):
    if delivery.data == b"poison":
        time.sleep(0.2)
        os._exit(137)
    time.sleep(0.01)
    print(delivery.event_id + "\\n", end="", flush=True)  # one write: print() writes its end apart, and threads mix
worker.run()
"""


@pytest.fixture
def start_worker(topic: str) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts workers of the topic as separate processes. They end with the test."""
    started: list[subprocess.Popen[str]] = []

    def start(server: ServerProcess, concurrency: int, lease_s: float = 1) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, server.address, topic, str(concurrency), str(lease_s)]
        quiet = subprocess.DEVNULL
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=quiet, text=True, process_group=0))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait(SIGNAL_TIMEOUT_S)
        assert process.stdout is not None
        process.stdout.close()


async def handled(wire: Wire, topic: str) -> admin_pb2.GroupInfo:
    """The group, once nothing waits and nothing is leased."""
    async with asyncio.timeout(180):
        while True:
            group = await wire.group(topic)
            if not (group.ready or group.leased or group.scheduled):
                return group


async def delivered(wire: Wire, topic: str, event_id: str, times: int) -> None:
    """Return when an event was delivered this many times."""
    async with asyncio.timeout(60):
        while (await wire.find_event(topic, event_id)).groups[0].attempts < times:
            pass  # each check is a round trip


async def make_group(wire: Wire, topic: str) -> None:
    """Create the group before a worker subscribes."""
    await (await wire.subscribe(topic)).cancel()
    await wire.until_subscribers(topic, 0)


@pytest.mark.parametrize("concurrency", [1, 4, 64])
async def test_an_event_that_kills_its_workers_dies_alone(
    start_server: Callable[..., ServerProcess],
    start_worker: Callable[..., subprocess.Popen[str]],
    topic: str,
    concurrency: int,
) -> None:
    server = start_server("--disconnect-grace", "50ms", "--max-retries", "1")
    async with connect(server.address) as wire:
        await make_group(wire, topic)
        await wire.dispatch(topic, event("poison", data=b"poison"), *[f"innocent {number}" for number in range(80)])

        killed = 0
        done = asyncio.create_task(handled(wire, topic))
        while not done.done():
            # A lease that runs out because the worker is slow would be one more attempt that does not count.
            worker = start_worker(server, concurrency, lease_s=30)
            ended = asyncio.create_task(asyncio.to_thread(worker.wait))
            await asyncio.wait((done, ended), return_when=asyncio.FIRST_COMPLETED)
            killed += worker.poll() == 137
            if done.done():
                worker.terminate()
            await ended

        poison = await wire.find_event(topic, "poison")
        assert ((await done).dead, killed) == (1, 4), "two attempts that don't count, one that does, and its retry"
        assert (poison.groups[0].attempts, poison.groups[0].free_attempts) == (4, 2)


async def test_no_event_dies_while_its_worker_is_stalled(
    start_server: Callable[..., ServerProcess],
    start_worker: Callable[..., subprocess.Popen[str]],
    topic: str,
) -> None:
    server = start_server("--max-retries", "0")
    names = [f"event {number}" for number in range(20)]
    worker = start_worker(server, 8)
    async with connect(server.address) as wire:
        await make_group(wire, topic)
        await wire.until_subscribers(topic, 1)
        worker.send_signal(signal.SIGSTOP)
        await wire.dispatch(topic, *names)

        await delivered(wire, topic, names[0], 5)
        assert (await wire.group(topic)).dead == 0
        worker.send_signal(signal.SIGCONT)

        assert (await handled(wire, topic)).dead == 0
        assert worker.stdout is not None
        missing = {f"{name}\n" for name in names}
        while missing:  # one may be handled twice, if its lease ran out as the worker went on
            missing.discard(await asyncio.to_thread(worker.stdout.readline))
