"""Streams and connections of a server with a greatest age, and a client whose servers have one name."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from duebus import Worker, aio
from duebus.v1 import event_bus_pb2
from support.app import own_app
from support.builders import unique_name
from support.name_server import name_server
from support.redis_server import free_port
from support.wire import SIGNAL_TIMEOUT_S, connect, tokens
from support.workers import HandlerByHand, serving

if TYPE_CHECKING:
    from collections.abc import Callable

    import pytest
    from support.server_process import ServerProcess

REBALANCE = event_bus_pb2.Closing.REASON_REBALANCE
LONGEST_US = 110_000_000


async def test_a_stream_of_the_greatest_age_is_closed_and_resumed_with_its_leases(topic: str) -> None:
    async with own_app(max_stream_age="100s", lease="300s") as (own, wire):
        stream = await wire.subscribe(topic)
        await wire.dispatch(topic, "a", "b")
        held = await stream.take(2)
        await own.advance(LONGEST_US)
        closing = await stream.closing()
        assert closing.reason == REBALANCE
        assert closing.reconnect_after.ToMicroseconds() == 0
        assert await wire.ack(held[0]) == [], "leases can be settled meanwhile"
        again = await wire.subscribe(topic, held_lease_tokens=tokens(held[1:]))
        assert list(again.started.lost_lease_tokens) == []
        await own.advance(10_000_000)
        await wire.dispatch(topic, "c")
        assert [each.event.id for each in [await again.one()]] == ["c"]
        assert await wire.ack(held[1]) == []


async def test_a_worker_goes_on_over_many_streams_and_connections(
    start_server: Callable[..., ServerProcess], topic: str, caplog: pytest.LogCaptureFixture
) -> None:
    server = start_server("--max-stream-age", "1s")
    handler = HandlerByHand()
    async with connect(server.address) as wire, aio.Client(server.address) as client:
        worker = Worker(client=client)
        worker.add(topic, handler)
        async with serving(worker):
            await worker.ready()
            await wire.dispatch(topic, "a")
            held = await asyncio.wait_for(handler.begins(), SIGNAL_TIMEOUT_S)
            sessions = set[str]()
            async with asyncio.timeout(SIGNAL_TIMEOUT_S):
                while len(sessions) < 4:  # the server sends the test no signal
                    sessions |= {each.session_id for each in (await wire.group(topic)).subscribers}
                    await asyncio.sleep(0.02)
            handler.returns(held)
            await wire.dispatch(topic, "b")
            handler.returns(await asyncio.wait_for(handler.begins(), SIGNAL_TIMEOUT_S))
    assert [each.event_id for each in handler.begun] == ["a", "b"]
    assert not handler.cancelled
    assert [each.getMessage() for each in caplog.records if each.levelno > logging.INFO] == []


async def test_calls_go_to_all_addresses_of_a_name_and_to_new_ones_when_a_server_goes(
    start_server: Callable[..., ServerProcess],
) -> None:
    addresses = ["127.0.0.1", "127.0.0.2", "127.0.0.3"]
    port = free_port()
    first, second, third = (start_server(listen=f"{each}:{port}") for each in addresses)
    async with (
        name_server(*addresses[:2]) as names,
        connect(first.address) as one,
        connect(second.address) as two,
        connect(third.address) as three,
        aio.Client(names.target(port), timeout=SIGNAL_TIMEOUT_S) as client,
    ):
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while not all([await each.topic_names() for each in (one, two)]):
                await client.dispatch(unique_name(), b"")
        before = [len(await each.topic_names()) for each in (one, two)]
        for _ in range(40):
            await client.dispatch(unique_name(), b"")
        after = [len(await each.topic_names()) for each in (one, two)]
        assert [count - 20 for count in after] == before, "as soon as both are connected, they take turns"
        names.addresses = addresses[1:]
        first.kill()
        async with asyncio.timeout(SIGNAL_TIMEOUT_S):
            while not await three.topic_names():
                await client.dispatch(unique_name(), b"")
