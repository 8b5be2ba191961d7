"""A worker and a real server while connections break, servers restart and processes are asked to end."""

from __future__ import annotations

import asyncio
import signal
import sys
from asyncio.subprocess import PIPE
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from duebus import Worker, aio
from support.proxy import proxy_to
from support.wire import SIGNAL_TIMEOUT_S, connect
from support.workers import HandlerByHand, group_when, serving, until_done

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import AsyncIterator, Callable

    from duebus import Delivery
    from duebus.v1 import admin_pb2
    from support.server_process import ServerProcess
    from support.wire import Wire

WORKER = """
import sys, time
from duebus import Worker

worker = Worker({target!r}, concurrency=1, prefetch=9)

@worker.on({topic!r})
def handle(delivery):
    print("begun", delivery.json(), flush=True)
    if {hangs!r}:
        time.sleep(600)
    sys.stdin.readline()
    print("ended", delivery.json(), flush=True)

worker.run()
print("drained", flush=True)
"""


@asynccontextmanager
async def worker_process(target: str, topic: str, *, hangs: bool = False) -> AsyncIterator[Process]:
    """A worker process whose handler ends when it reads a line."""
    source = WORKER.format(target=target, topic=topic, hangs=hangs)
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", source, stdin=PIPE, stdout=PIPE)
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def line(process: Process) -> str:
    """The next line that it prints."""
    assert process.stdout is not None
    return (await asyncio.wait_for(process.stdout.readline(), SIGNAL_TIMEOUT_S)).decode().strip()


async def begins(handler: HandlerByHand) -> Delivery:
    """The next delivery that the handler is called with."""
    return await asyncio.wait_for(handler.begins(), SIGNAL_TIMEOUT_S)


async def new_subscriber(wire: Wire, topic: str, old: str) -> admin_pb2.Subscriber:
    """The only subscriber of a topic, once its session is a new one."""
    group = await group_when(
        wire, topic, lambda group: [each.session_id for each in group.subscribers] not in ([], [old])
    )
    (subscriber,) = group.subscribers
    return subscriber


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_drains_the_worker_and_releases_the_rest(
    server: ServerProcess, wire: Wire, topic: str, number: signal.Signals
) -> None:
    async with aio.Client(server.address) as client, worker_process(server.address, topic) as process:
        await client.dispatch_many(topic, range(5))
        assert await line(process) == "begun 0"
        process.send_signal(number)

        other = await wire.subscribe(topic)
        released = await other.take(4)
        assert sorted(each.event.data for each in released) == [b"1", b"2", b"3", b"4"]
        assert {each.attempt for each in released} == {1}

        # Longer than the grace of the closed stream: the worker keeps the leases of running handlers.
        await asyncio.sleep(1.1)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        assert [await line(process), await line(process)] == ["ended 0", "drained"]
        assert await asyncio.wait_for(process.wait(), SIGNAL_TIMEOUT_S) == 0
        group = await wire.group(topic)
        assert (group.leased, group.ready, group.scheduled, group.dead) == (4, 0, 0, 0)


async def test_a_stop_in_a_flood_costs_no_event_an_attempt(server: ServerProcess, wire: Wire, topic: str) -> None:
    handled: list[Delivery] = []
    first, second = Worker(server.address), Worker(server.address)

    async def handle(delivery: Delivery) -> None:
        handled.append(delivery)
        if len(handled) == 500:
            first.request_stop()

    async with aio.Client(server.address) as client:
        for start in range(0, 3000, 1000):
            await client.dispatch_many(topic, range(start, start + 1000))
        first.add(topic, handle)
        await asyncio.wait_for(first.serve(), SIGNAL_TIMEOUT_S)
        assert 500 <= len(handled) < 3000
        group = await wire.group(topic)
        assert (group.leased, group.ready) == (0, 3000 - len(handled))
        second.add(topic, handle)
        async with serving(second):
            await until_done(wire, topic)
    assert sorted(each.json() for each in handled) == list(range(3000))
    assert {each.attempt for each in handled} == {1}


async def test_a_second_signal_ends_a_worker_whose_handler_hangs_and_its_event_is_released(
    server: ServerProcess, wire: Wire, topic: str
) -> None:
    async with (
        aio.Client(server.address) as client,
        worker_process(server.address, topic, hangs=True) as process,
    ):
        await client.dispatch_many(topic, range(2))
        assert await line(process) == "begun 0"
        other = await wire.subscribe(topic)
        process.send_signal(signal.SIGTERM)
        assert (await other.one()).event.data == b"1"
        process.send_signal(signal.SIGTERM)
        hanging = await other.one()
        assert (hanging.event.data, hanging.attempt) == (b"0", 1)
        assert await asyncio.wait_for(process.wait(), SIGNAL_TIMEOUT_S) == 0


async def test_a_worker_that_is_killed_loses_nothing(server: ServerProcess, wire: Wire, topic: str) -> None:
    async with aio.Client(server.address) as client, worker_process(server.address, topic) as process:
        await client.dispatch_many(topic, range(5))
        assert await line(process) == "begun 0"
        process.kill()
        other = await wire.subscribe(topic)
        async with asyncio.timeout(25):  # its leases last longer
            assert sorted(each.event.data for each in await other.take(5)) == [b"0", b"1", b"2", b"3", b"4"]


async def test_a_cut_connection_is_resumed_with_its_leases(server: ServerProcess, wire: Wire, topic: str) -> None:
    async with proxy_to(server.address) as proxy, aio.Client(server.address) as client:
        worker, handler = Worker(proxy.address, concurrency=2), HandlerByHand()
        worker.add(topic, handler)
        async with serving(worker):
            await client.dispatch_many(topic, range(4))
            running = [await begins(handler), await begins(handler)]
            for _ in range(3):
                old = (await wire.group(topic)).subscribers[0].session_id
                assert proxy.cut() == 1
                assert (await new_subscriber(wire, topic, old)).in_flight == 4
            # Longer than the grace of the broken streams, which no longer limits the leases.
            await asyncio.sleep(1.1)
            await client.dispatch(topic, 4)
            for each in running:
                handler.returns(each)
            for _ in range(3):
                handler.returns(await begins(handler))
            await until_done(wire, topic)
    assert not handler.cancelled
    assert sorted(each.json() for each in handler.begun) == [0, 1, 2, 3, 4]
    assert {each.attempt for each in handler.begun} == {1}


async def test_a_worker_continues_after_its_server_is_restarted(
    start_server: Callable[..., ServerProcess], topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server()
    worker, handler = Worker(server.address, concurrency=2), HandlerByHand()
    worker.add(topic, handler)
    async with serving(worker), aio.Client(server.address) as client:
        await client.dispatch_many(topic, ["lost", "acked too late"])
        lost, late = await begins(handler), await begins(handler)
        server.kill()
        handler.returns(late)
        restarted = start_server(listen=server.address)
        assert restarted.address == server.address
        await client.dispatch(topic, "after", timeout=SIGNAL_TIMEOUT_S)
        after = await begins(handler)
        assert after.text() == "after"
        assert handler.cancelled == [lost]
        handler.returns(after)
        async with connect(restarted.address) as wire:
            await until_done(wire, topic)
    assert "never retrieved" not in caplog.text


async def test_a_worker_leaves_a_draining_server_and_finds_it_again(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server()
    worker, handler = Worker(server.address), HandlerByHand()
    worker.add(topic, handler)
    async with serving(worker), aio.Client(server.address) as client, connect(server.address) as wire:
        await client.dispatch(topic, "before")
        before = await begins(handler)
        other = await wire.subscribe("other")
        stopping = asyncio.create_task(client.stop())
        await other.closing()
        assert not stopping.done()
        handler.returns(before)
        (stopped,) = await stopping
        assert stopped.released == 0
        assert await asyncio.to_thread(server.wait) == 0
        start_server(listen=server.address)
        await client.dispatch(topic, "after", timeout=SIGNAL_TIMEOUT_S)
        after = await begins(handler)
        assert after.text() == "after"
        handler.returns(after)
