"""Random HTTP/2 by hand: frames that no library sends, floods, and requests that are left half-written."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from fuzz.calls import METHODS
from fuzz.messages import Messages
from support.http2 import (
    DATA,
    END_HEADERS,
    END_STREAM,
    HEADERS,
    PREFACE,
    RST_STREAM,
    SETTINGS,
    frame,
    message,
    raw_connection,
    request_headers,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

PRIORITY, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 2, 5, 6, 7, 8, 9

MANY = 100
"""Requests of one connection."""

SEND_S = 2.0
"""The server may stop reading at any time."""

LOOK_S = 0.05
"""How long the answers are read."""


class RawHttp2:
    """Attacks over one connection after the other.

    Args:
        address: the server's address.
        token: a valid token.
        random: decides everything.
    """

    def __init__(self, address: str, token: str, random: Random) -> None:
        self._address = address
        self._token = token
        self._random = random
        self._messages = Messages(random)

    async def make(self) -> int:
        """One connection; returns how many requests it made, at least 1."""
        attack = self._random.choice(ATTACKS)
        frames = attack(self)
        whole = b"".join(frames)
        if self._random.random() < 0.2:
            whole = whole[: self._random.randrange(len(whole) + 1)]
        with suppress(OSError, TimeoutError):
            if attack is RawHttp2.no_http2:
                await self._send_without_preface(whole)
            else:
                await self._send(whole)
        return max(1, sum(each[3:4] == bytes([HEADERS]) for each in frames))

    async def _send(self, whole: bytes) -> None:
        async with raw_connection(self._address) as connection:
            with suppress(TimeoutError):
                async with asyncio.timeout(SEND_S):
                    await connection.send(whole)
            with suppress(TimeoutError, asyncio.IncompleteReadError):
                async with asyncio.timeout(LOOK_S):
                    while True:
                        await connection.frame()
            if self._random.random() < 0.5:
                connection.writer.transport.abort()

    async def _send_without_preface(self, whole: bytes) -> None:
        host, _, port = self._address.rpartition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        try:
            writer.write(whole)
            with suppress(TimeoutError):
                await asyncio.wait_for(reader.read(1 << 16), LOOK_S)
        finally:
            writer.transport.abort()

    # --- attacks ----------------------------------------------------------------------------------------------------

    def requests(self) -> list[bytes]:
        """Whole requests of all methods, which are mixed with the attacks."""
        frames = []
        for number in range(self._random.randrange(1, MANY)):
            method = self._random.choice(METHODS)
            path = f"/{method.containing_service.full_name}/{method.name}".encode()
            body = message(self._messages.request(method)[:16_000])
            frames += [self._headers(2 * number + 1, path), frame(DATA, END_STREAM, 2 * number + 1, body)]
        return frames

    def bad_bodies(self) -> list[bytes]:
        """Messages with a wrong length or flag, no message, and several messages."""
        bodies = (
            b"",
            b"\0",
            b"\0\xff\xff\xff\xff" + b"x" * 100,
            b"\2\0\0\0\1x",
            b"\1\0\0\0\1x",
            b"\0\0\0\0\x05x",
            message(b"") * 3,
            message(b"") + b"\0",
        )
        return [
            part
            for stream in range(1, 2 * MANY, 2)
            for part in (
                self._headers(stream, self._path()),
                frame(DATA, self._random.choice((0, END_STREAM)), stream, self._random.choice(bodies)),
            )
        ]

    def bad_paths(self) -> list[bytes]:
        """Invalid paths, and methods that do not exist."""
        paths = (b"", b"/", b"*", b"//", b"\xff\xfe", b"\0", b"/duebus.v1.EventBus/", b"/a/b?c#d", b"/" + b"x" * 120)
        made = (self._random.choice((*paths, self._random.randbytes(20))) for _ in range(MANY))
        return [self._headers(2 * number + 1, path) for number, path in enumerate(made)]

    def bad_headers(self) -> list[bytes]:
        """gRPC's headers with invalid values; other methods and content types."""
        others = (
            (b"grpc-timeout", self._random.choice((b"", b"0n", b"99999999H", b"-1S", b"1x", b"999999999999S"))),
            (b"grpc-encoding", self._random.choice((b"gzip", b"deflate", b"identity", b"xyz", b""))),
            (b"content-type", self._random.choice((b"text/html", b"application/grpc+json", b""))),
            (b"te", b"deflate"),
            (b"connection", b"keep-alive"),
            (b"content-length", self._random.choice((b"0", b"-1", b"99999999999999999999"))),
            (b"Upper-Case", b"x"),
            (b"x-bin", b"not base64!"),
            (b":method", self._random.choice((b"GET", b"CONNECT", b""))),
            (b":unknown", b"x"),
            (b"", b""),
            (b"x\n", b"\r\n\0"),
            (b"transfer-encoding", b"chunked"),
        )
        return [
            part
            for stream in range(1, 2 * MANY, 2)
            for part in (
                self._headers(stream, self._path(), *self._random.sample(others, 2)),
                frame(DATA, END_STREAM, stream, message(b"")),
            )
        ]

    def header_flood(self) -> list[bytes]:
        """More headers than are allowed, in requests that do not end."""
        many = [(b"x%d" % number, b"y" * 120) for number in range(self._random.choice((50, 120)))]
        return [self._headers(stream, self._path(), *many) for stream in range(1, MANY, 2)]

    def continuations(self) -> list[bytes]:
        """Headers in endless pieces, or in empty ones."""
        piece = self._random.choice((b"", b"\0\x01a\x01b", b"\0\x01a\x7f", b"\x80"))
        first = frame(HEADERS, self._random.choice((0, END_STREAM)), 1, piece)
        return [first, *(frame(CONTINUATION, 0, 1, piece * self._random.choice((1, 1_000))) for _ in range(MANY))]

    def resets(self) -> list[bytes]:
        """Requests that are cancelled at once."""
        path, error = self._path(), self._random.randrange(20).to_bytes(4, "big")
        return [
            part
            for stream in range(1, 20 * MANY, 2)
            for part in (
                self._headers(stream, path),
                frame(DATA, self._random.choice((0, END_STREAM)), stream, message(b"")),
                frame(RST_STREAM, 0, stream, error),
            )
        ]

    def settings(self) -> list[bytes]:
        """Endless changes of settings, or ones with invalid values."""
        values = (0, 1, 2**14, 2**24, 2**31 - 1, 2**31, 2**32 - 1)
        return [
            frame(SETTINGS, self._random.choice((0, 0, 0, 1)), 0, self._setting(values) * self._random.randrange(4))
            for _ in range(self._random.choice((1, 5, 20 * MANY)))
        ]

    def pings(self) -> list[bytes]:
        return [frame(PING, 0, 0, bytes(8))] * (20 * MANY)

    def windows(self) -> list[bytes]:
        """Windows that are too small or too large, for streams that may exist."""
        sizes = (0, 1, 2**31 - 1, 2**32 - 1)
        opening = [frame(SETTINGS, 0, 0, b"\0\4" + self._random.choice(sizes[:3]).to_bytes(4, "big"))]
        calls = self.requests()
        for _ in range(MANY):
            calls.insert(self._random.randrange(len(calls)), self._window(sizes))
        return opening + calls

    def bad_frames(self) -> list[bytes]:
        """Frames of any kind, between requests."""
        frames = self.requests()
        for _ in range(self._random.randrange(1, 20)):
            kind = self._random.choice((*range(10), 255))
            size = self._random.choice((0, 1, 4, 5, 8, 9, 100, 16_384, 16_385))
            stream = self._random.choice((0, 1, 2, 3, 101, 2**31 - 1, 2**32 - 1))
            bad = frame(kind, self._random.randrange(256), stream, self._random.randbytes(size))
            frames.insert(self._random.randrange(len(frames) + 1), bad)
        return frames

    def bad_hpack(self) -> list[bytes]:
        """Headers that can't be decoded."""
        return [
            frame(HEADERS, END_HEADERS, 2 * number + 1, self._random.randbytes(self._random.randrange(60)))
            for number in range(MANY)
        ]

    def no_http2(self) -> list[bytes]:
        """Something else."""
        return [
            self._random.choice(
                (
                    b"GET / HTTP/1.1\r\nHost: bus\r\n\r\n",
                    b"POST /duebus.v1.EventBus/Dispatch HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n",
                    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500),
                    PREFACE,
                    PREFACE + PREFACE,
                    b"\0" * 100_000,
                    self._random.randbytes(self._random.randrange(2_000)),
                )
            )
        ]

    def _path(self) -> bytes:
        method = self._random.choice(METHODS)
        return f"/{method.containing_service.full_name}/{method.name}".encode()

    def _headers(self, stream: int, path: bytes, *others: tuple[bytes, bytes]) -> bytes:
        token = ((b"authorization", b"Bearer " + self._token.encode()),) if self._random.random() < 0.5 else ()
        return request_headers(stream, path, *token, *others)

    def _setting(self, values: tuple[int, ...]) -> bytes:
        return self._random.randrange(9).to_bytes(2, "big") + self._random.choice(values).to_bytes(4, "big")

    def _window(self, sizes: tuple[int, ...]) -> bytes:
        return frame(WINDOW_UPDATE, 0, self._random.randrange(20), self._random.choice(sizes).to_bytes(4, "big"))


ATTACKS: tuple[Callable[[RawHttp2], list[bytes]], ...] = (
    RawHttp2.requests,
    RawHttp2.bad_bodies,
    RawHttp2.bad_paths,
    RawHttp2.bad_headers,
    RawHttp2.header_flood,
    RawHttp2.continuations,
    RawHttp2.resets,
    RawHttp2.settings,
    RawHttp2.pings,
    RawHttp2.windows,
    RawHttp2.bad_frames,
    RawHttp2.bad_hpack,
    RawHttp2.no_http2,
)
