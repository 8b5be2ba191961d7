"""A hundred clients and workers that were closed leave nothing behind: no task, thread, file descriptor or channel."""

from __future__ import annotations

import asyncio
import gc
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import grpc
import grpc.aio
from duebus import Client, Delivery, Worker, aio
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from support.server_process import ServerProcess

MANY = 100
KINDS = (Client, Worker, aio.Client, grpc.Channel, grpc.aio.Channel)

# Otherwise gRPC shares one connection among all channels to a server, and one that stays open has no socket to show.
OWN_CONNECTION = (("grpc.use_local_subchannel_pool", 1),)


def running() -> Counter[str]:
    """The tasks, threads and file descriptors of this process."""
    gc.collect()
    tasks = sum(issubclass(type(each), asyncio.Task) and not each.done() for each in gc.get_objects())
    files = len(list(Path("/proc/self/fd").iterdir()))
    return Counter({"tasks": tasks, "threads": threading.active_count(), "file descriptors": files})


def objects() -> Counter[str]:
    """The clients, workers and channels that exist, open or closed."""
    gc.collect()
    return Counter(kind.__qualname__ for each in gc.get_objects() for kind in KINDS if issubclass(type(each), kind))


def assert_no_more_is_running(before: Counter[str]) -> None:
    """Waits until as much has ended. It polls: a thread or a connection that has been told to end sends no signal."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while left := running() - before:
        assert time.monotonic() < deadline, dict(left)
        time.sleep(0.01)


def test_a_hundred_sync_clients_leave_nothing_behind(server: ServerProcess, topic: str) -> None:
    first = dispatch_and_ack(server, topic)  # as long as it exists, what gRPC has started for all stays
    before, none = running(), objects()
    closed = [dispatch_and_ack(server, topic) for _ in range(MANY)]
    assert_no_more_is_running(before)
    closed.clear()
    assert not objects() - none
    del first


async def test_a_hundred_asyncio_clients_and_workers_leave_nothing_behind(server: ServerProcess, topic: str) -> None:
    first = await dispatch_and_handle(server, topic)  # as above
    before, none = await asyncio.to_thread(running), objects()
    closed = [await dispatch_and_handle(server, topic) for _ in range(MANY)]
    await asyncio.to_thread(assert_no_more_is_running, before)  # the loop goes on meanwhile
    closed.clear()
    assert not objects() - none
    del first


def dispatch_and_ack(server: ServerProcess, topic: str) -> Client:
    with Client(server.address, options=OWN_CONNECTION) as client:
        client.dispatch(topic, "x")
        with client.subscribe(topic) as subscription:
            client.ack(next(subscription))
    return client


async def dispatch_and_handle(server: ServerProcess, topic: str) -> tuple[Worker, aio.Client]:
    """Has an event handled in the loop, and in a batch on a thread."""
    handled, loop = asyncio.Semaphore(0), asyncio.get_running_loop()
    async with aio.Client(server.address, options=OWN_CONNECTION) as client:
        worker = Worker(client=client)

        @worker.on(topic)
        async def in_the_loop(_: Delivery) -> None:
            handled.release()

        @worker.on(topic, batch=2, wait=0.001)
        def on_a_thread(_: list[Delivery]) -> None:
            loop.call_soon_threadsafe(handled.release)

        serving = asyncio.create_task(worker.serve())
        await worker.ready()
        await client.dispatch(topic, "x")
        for _ in range(2):
            await asyncio.wait_for(handled.acquire(), SIGNAL_TIMEOUT_S)
        await worker.stop()
        await serving
    return worker, client
