"""The limits of one connection, which protect the others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from duebus.v1 import event_bus_pb2
from support.wire import SIGNAL_TIMEOUT_S, connect, event, failure_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess


async def test_a_connection_with_too_many_streams_is_refused_and_others_are_not_affected(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--max-streams-per-connection", "3")
    async with connect(server.address) as greedy, connect(server.address) as modest:
        streams = [await greedy.subscribe(topic) for _ in range(3)]
        failure = await failure_of(greedy.open(event_bus_pb2.SubscribeRequest(topic=topic)).next_frame())
        assert (failure.code, failure.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "MAX_STREAMS_REACHED")
        assert failure.metadata == {"max_streams_per_connection": "3"}
        await modest.subscribe(topic)
        await greedy.dispatch(topic, "a")
        await streams[0].cancel()
        await until_there_is_room(greedy.open, topic)


async def until_there_is_room(open_stream: Callable[..., object], topic: str) -> None:
    """The server notices the end of a stream a little later."""
    async with asyncio.timeout(SIGNAL_TIMEOUT_S):
        while True:
            stream = open_stream(event_bus_pb2.SubscribeRequest(topic=topic))
            try:
                await stream.start()  # type: ignore[attr-defined]
            except grpc.aio.AioRpcError:
                continue
            return


async def test_a_request_beyond_the_limit_is_refused_and_a_smaller_one_is_not(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server("--max-message-size", "64KiB")
    async with connect(server.address) as wire:
        await wire.dispatch(topic, event("small", b"x" * 60_000))
        request = event_bus_pb2.DispatchRequest(topic=topic, events=[event("large", b"x" * 70_000)])
        raw = wire.raw("EventBus/Dispatch")
        try:
            await raw(request.SerializeToString())
        except grpc.aio.AioRpcError as error:
            code, message = error.code(), error.details() or ""
        assert code is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "larger than max" in message
        await wire.dispatch(topic, "still here")


async def test_a_client_that_pings_too_often_is_disconnected(
    start_server: Callable[..., ServerProcess], topic: str
) -> None:
    server = start_server()
    pings = {
        "grpc__keepalive_time_ms": 100,
        "grpc__keepalive_permit_without_calls": 1,
        "grpc__http2__max_pings_without_data": 0,
    }
    async with connect(server.address, **pings) as hectic, connect(server.address) as calm:
        quiet = await calm.subscribe(topic)
        stream = await hectic.subscribe(topic)
        try:
            await stream.next_frame()
        except grpc.aio.AioRpcError as error:
            code, message = error.code(), error.details() or ""
        assert code is grpc.StatusCode.UNAVAILABLE
        assert "Too many pings" in message or "too_many_pings" in message
        await calm.dispatch(topic, "a")
        assert (await quiet.one()).event.id == "a"
