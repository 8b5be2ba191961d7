"""A bare gRPC server that echoes its input: the limit of any gRPC service in Python."""

from __future__ import annotations

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


async def serve(port: int) -> dict[str, Any]:
    """Serve on this port of the loopback until a line comes in."""
    server = grpc.aio.server()
    handlers = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Stream": grpc.unary_stream_rpc_method_handler(stream),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await begin()
    await server.stop(None)
    return {}


if __name__ == "__main__":
    play(serve)
