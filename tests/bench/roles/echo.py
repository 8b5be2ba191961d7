"""A bare gRPC server that echoes its input, or passes it on to a stream: the limit of any gRPC service in Python."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from bench.roles.role import begin, play

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


async def unary(request: bytes, _context: Any) -> bytes:
    """The same bytes."""
    return request


async def stream(request: bytes, _context: Any) -> AsyncIterator[bytes]:
    """The same bytes, repeated as the first four of them say."""
    for _ in range(int.from_bytes(request[:4])):
        yield request


class Relay:
    """Passes on what one caller sends to the one who receives: an event's way, without anything that makes it safe."""

    def __init__(self) -> None:
        self._sent: asyncio.Queue[bytes] = asyncio.Queue()

    async def send(self, request: bytes, _context: Any) -> bytes:
        """Answers with nothing."""
        self._sent.put_nowait(request)
        return b""

    async def receive(self, _request: bytes, _context: Any) -> AsyncIterator[bytes]:
        """What was sent, as it comes."""
        while True:
            yield await self._sent.get()


async def serve(port: int) -> dict[str, Any]:
    """Serve on this port of the loopback until a line comes in."""
    server = grpc.aio.server()
    relay = Relay()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
        "Send": grpc.unary_unary_rpc_method_handler(relay.send),
        "Receive": grpc.unary_stream_rpc_method_handler(relay.receive),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await begin()
    await server.stop(None)
    return {}


if __name__ == "__main__":
    play(serve)
