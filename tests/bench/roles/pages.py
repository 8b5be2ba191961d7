"""Browsers with the dashboard open: each reads the stream of what changes, and does nothing with it."""

from __future__ import annotations

import asyncio
from typing import Any

from bench.roles.role import begin, play

BLOCK = 1 << 18


async def pages(address: str, count: int) -> dict[str, Any]:
    """Keep pages open until this process is ended. It is ready once each has all that there is.

    Args:
        address: of the server's HTTP port.
        count: how many pages.
    """
    host, _, port = address.rpartition(":")
    drawn = [asyncio.Event() for _ in range(count)]
    reading = [asyncio.create_task(_read(host, int(port), each)) for each in drawn]
    await asyncio.gather(*(each.wait() for each in drawn))
    await begin()
    await asyncio.gather(*reading)
    return {}


async def _read(host: str, port: int, drawn: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(f"GET /events HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: text/event-stream\r\n\r\n".encode())
    end = b""
    while block := await reader.read(BLOCK):
        end = (end + block)[-8:]
        if b"\n\n" in end:  # a message has ended
            drawn.set()
    raise ConnectionError("the server has closed the stream")


if __name__ == "__main__":
    play(pages)
