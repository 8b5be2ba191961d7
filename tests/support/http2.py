"""HTTP/2 frames, for requests that no gRPC library sends."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

DATA, HEADERS, RST_STREAM, SETTINGS = 0, 1, 3, 4
END_STREAM, END_HEADERS = 1, 4


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + stream.to_bytes(4, "big") + payload


def request_headers(stream: int, path: bytes, *others: tuple[bytes, bytes]) -> bytes:
    headers = (
        (b":method", b"POST"),
        (b":scheme", b"http"),
        (b":path", path),
        (b":authority", b"bus"),
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        *others,
    )
    return frame(HEADERS, END_HEADERS, stream, b"".join(b"\0" + _text(name) + _text(value) for name, value in headers))


def message(payload: bytes, *, compressed: bool = False) -> bytes:
    return bytes([compressed]) + len(payload).to_bytes(4, "big") + payload


def request(stream: int, path: bytes) -> bytes:
    """A call with an empty message."""
    return request_headers(stream, path) + frame(DATA, END_STREAM, stream, message(b""))


class RawConnection:
    """A connection that sends arbitrary frames.

    Attributes:
        reader, writer: of the socket.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *frames: bytes) -> None:
        """Write frames as fast as the server reads them."""
        self.writer.write(b"".join(frames))
        await self.writer.drain()

    async def frame(self) -> tuple[int, int, int, bytes]:
        """The next frame: its kind, flags, stream and payload."""
        head = await self.reader.readexactly(9)
        payload = await self.reader.readexactly(int.from_bytes(head[:3], "big"))
        return head[3], head[4], int.from_bytes(head[5:9], "big"), payload

    async def trailers(self, stream: int) -> bytes:
        """The headers that end a stream, encoded: gRPC's server writes them as plain literals."""
        while True:
            kind, flags, number, payload = await self.frame()
            if kind == HEADERS and number == stream and flags & END_STREAM:
                return payload

    async def ends(self, count: int) -> None:
        """Wait until this many streams have ended, answered or not."""
        ended: set[int] = set()
        while len(ended) < count:
            kind, flags, number, _payload = await self.frame()
            if kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                ended.add(number)


@asynccontextmanager
async def raw_connection(address: str) -> AsyncIterator[RawConnection]:
    """A connection after the HTTP/2 handshake."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    connection = RawConnection(reader, writer)
    try:
        await connection.send(PREFACE, frame(SETTINGS, 0, 0))
        yield connection
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


def _text(text: bytes) -> bytes:
    """A name or value shorter than 127 bytes, encoded by HPACK."""
    return bytes([len(text)]) + text
