"""Random HTTP/1.1 by hand, at the port of probes and metrics, and at that of the bus over HTTP."""

from __future__ import annotations

import asyncio
import re
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from fuzz.calls import METHODS as RPCS
from fuzz.messages import Messages
from google.protobuf import message_factory
from google.protobuf.json_format import MessageToJson, SerializeToJsonError
from google.protobuf.message import DecodeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

MANY = 50
"""Requests of one connection."""

SEND_S = 2.0
"""The server may stop reading at any time."""

LOOK_S = 0.05
"""How long the answers are read."""

PATHS = (b"/healthz", b"/readyz", b"/metrics", b"/elsewhere")
METHODS = (b"GET", b"HEAD", b"POST", b"OPTIONS", b"DELETE", b"TRACE")
FAILED = re.compile(rb"HTTP/1\.[01] 5(?!01)\d\d[^\r]*")
"""A compressed request is answered 501."""

UNARY = [
    method for method in RPCS if method.full_name.startswith("duebus.") and method.name not in ("Subscribe", "Stop")
]
CLOUD_EVENT = (
    b'{"specversion":"1.0","id":"1","source":"/s","type":"t","time":"2018-04-05T17:31:00Z","data":{"a":[1,2.5,null]}}'
)
EVENT_HEADERS = (
    b"Content-Type: application/cloudevents+json", b"Content-Type: application/cloudevents-batch+json",
    b"Content-Type: text/plain", b"Content-Type: \xff", b"Duebus-Delay: 1s", b"Duebus-Delay: 99999999999999d",
    b"Duebus-Deliver-At: 9999-12-31T23:59:59.999999999Z", b"Duebus-Deliver-At: 0001-01-01T00:00:00Z",
    b"Duebus-Id: \xc3\xa9", b"Duebus-Id: \xff", b"Duebus-Attribute-X: y", b"Duebus-Priority: -1",
    b"Duebus-Key: a", b"Idempotency-Key: request-1", b"ce-specversion: 1.0", b"ce-id: %FF", b"ce-source: a b",
    b"ce-type: \"t\\\"\"", b"ce-time: yesterday", b"Content-Encoding: gzip", b"Origin: null", b"Accept-Encoding: gzip",
)  # fmt: skip


class RawHttp1:
    """Attacks over one connection after the other.

    Args:
        address: the port's address.
        random: decides everything.
        token: for the bus; None: this is the port of probes.

    Attributes:
        faults: answers with a status of 500 or more.
    """

    def __init__(self, address: str, random: Random, token: str | None = None) -> None:
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._random = random
        self._messages = Messages(random)
        self._token = token
        self.faults: list[str] = []

    async def make(self) -> int:
        """One connection; returns how many requests it made."""
        attack = self._random.choice(ATTACKS if self._token is None else (*ATTACKS, *WEB_ATTACKS))
        requests = attack(self)
        whole = b"".join(requests)
        if self._random.random() < 0.2:
            whole = whole[: self._random.randrange(len(whole) + 1)]
        with suppress(OSError):
            answer = await self._send(whole)
            self.faults += [f"{attack.__name__}: {found.decode()}" for found in FAILED.findall(answer)]
        return len(requests)

    async def _send(self, whole: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(self._host, self._port)
        answer = b""
        try:
            writer.write(whole)
            with suppress(TimeoutError):
                await asyncio.wait_for(writer.drain(), SEND_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(LOOK_S):
                    while piece := await reader.read(1 << 16):
                        answer += piece
        finally:
            if self._random.random() < 0.5:
                writer.transport.abort()
            else:
                writer.close()
        return answer

    # --- attacks: lists of requests -------------------------------------------------------------------------------

    def requests(self) -> list[bytes]:
        """Whole requests, all sent before the first answer is read."""
        return [self._request(self._line()) for _ in range(self._random.randrange(1, MANY))]

    def bad_lines(self) -> list[bytes]:
        """Request lines that are malformed, or of another protocol."""
        lines = (
            b"", b" ", b"GET", b"GET /healthz", b"GET /healthz HTTP/0.9", b"GET /healthz HTTP/2.0",
            b"GET /healthz HTTP/1.1 more", b"\xff\xfe / HTTP/1.1", b"GET /\0 HTTP/1.1", b"GET \xff HTTP/1.1",
            b"GET http://[::1 HTTP/1.1", b"GET //evil/%00%ff?%zz HTTP/1.1", b"PRI * HTTP/2.0\r\n\r\nSM",
            b"CONNECT a:1 HTTP/1.1", b"GET /" + b"x" * 70_000 + b" HTTP/1.1", self._random.randbytes(60),
        )  # fmt: skip
        return [self._request(self._random.choice(lines))]

    def bad_headers(self) -> list[bytes]:
        """Headers that contradict each other, are malformed, or ask for something unsupported."""
        headers = (
            b"Content-Length: -1", b"Content-Length: 99999999999999999999", b"Content-Length: 1\r\nContent-Length: 2",
            b"Transfer-Encoding: chunked\r\nContent-Length: 4", b"Transfer-Encoding: gzip, chunked",
            b"Host: a\r\nHost: b",
            b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: eA==\r\nSec-WebSocket-Version: 13",
            b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABk", b"Expect: 100-continue",
            b"Connection: close, keep-alive", b": empty", b"no colon", b"X: a\0b", b"X: \xff\xfe", b" folded: x",
            b"X" * 300 + b": y", b"Range: bytes=0-1,2-3", b"Accept: " + b"a/b;q=0.1," * 500,
        )  # fmt: skip
        return [self._request(self._line(), *self._random.sample(headers, 2))]

    def header_flood(self) -> list[bytes]:
        """Many headers, or endless ones."""
        count = self._random.choice((100, 1_000, 20_000))
        return [self._request(self._line(), *(b"X%d: y" % number for number in range(count)))]

    def bodies(self) -> list[bytes]:
        """Bodies where none is expected, chunks with wrong sizes, and bodies that are too short."""
        pieces = (b"5\r\nhello\r\n0\r\n\r\n", b"ffffffffffffffff\r\nx", b"-1\r\n", b"5\r\nhel", b"5;x=" + b"y" * 9_000)
        chunked = self._request(self._line(), b"Transfer-Encoding: chunked") + self._random.choice(pieces)
        size = self._random.choice((1, 1_000, 1_000_000))
        whole = self._request(self._line(), b"Content-Length: %d" % size) + bytes(self._random.randrange(size + 1))
        return [self._random.choice((chunked, whole))]

    def rpcs(self) -> list[bytes]:
        """Requests of RPCs, as JSON or as protobuf."""
        return [self._rpc() for _ in range(self._random.randrange(1, MANY))]

    def events(self) -> list[bytes]:
        """Events of any media type, and CloudEvents."""
        return [self._event() for _ in range(self._random.randrange(1, MANY))]

    def _rpc(self) -> bytes:
        method = self._random.choice(UNARY)
        body, kind = self._messages.request(method), b"proto"
        if self._random.random() < 0.8:
            body, kind = self._as_json(method, body), b"json"
        line = f"POST /{method.containing_service.full_name}/{method.name} HTTP/1.1".encode()
        return self._post(line, body, b"Content-Type: application/" + kind)

    def _as_json(self, method: Any, encoded: bytes) -> bytes:
        kind: Any = message_factory.GetMessageClass(method.input_type)
        try:
            text = MessageToJson(kind.FromString(encoded)).encode(errors="surrogatepass")
        except (DecodeError, SerializeToJsonError, ValueError):
            text = b"{}"
        return self._damaged(text)

    def _event(self) -> bytes:
        topic = self._random.choice((b"orders", b"mail", b"%00", b"%C3%BC", b"..", b"x" * 300))
        body = self._damaged(CLOUD_EVENT if self._random.random() < 0.5 else b"[" + CLOUD_EVENT + b"]")
        headers = self._random.sample(EVENT_HEADERS, self._random.randrange(5))
        if self._random.random() < 0.2:
            query = self._damaged(b"max=2&wait=10ms&lease=100ms&consumer=f").replace(b" ", b"")
            return self._post(b"POST /v1/topics/" + topic + b"/groups/g:pull?" + query + b" HTTP/1.1", b"")
        return self._post(b"POST /v1/topics/" + topic + b"/events HTTP/1.1", body, *headers)

    def _post(self, line: bytes, body: bytes, *headers: bytes) -> bytes:
        token = b"Authorization: Bearer " + str(self._token).encode()
        return self._request(line, b"Content-Length: %d" % len(body), token, *headers) + body

    def _damaged(self, text: bytes) -> bytes:
        """The text, or half of the time with a piece replaced."""
        if self._random.random() < 0.5:
            return text
        begin = self._random.randrange(len(text))
        pieces = (
            b"",
            b"null",
            b"1e999",
            b"-0",
            b'"\\ud800"',
            b"[" * 2_000,
            b"\xff",
            b"9" * 5_000,
            b"true",
            b"{}",
            b'"',
        )
        return text[:begin] + self._random.choice(pieces) + text[begin + self._random.randrange(8) :]

    def no_http(self) -> list[bytes]:
        """Something else."""
        others = (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(500), bytes(100_000), b"\r\n" * 10_000)
        return [self._random.choice((*others, self._random.randbytes(self._random.randrange(2_000))))]

    def _line(self) -> bytes:
        return b"%s %s HTTP/1.%d" % (
            self._random.choice(METHODS),
            self._random.choice(PATHS),
            self._random.choice((0, 1, 1, 1)),
        )

    @staticmethod
    def _request(line: bytes, *headers: bytes) -> bytes:
        return b"\r\n".join((line, b"Host: bus", *headers, b"", b""))


WEB_ATTACKS: tuple[Callable[[RawHttp1], list[bytes]], ...] = (RawHttp1.rpcs, RawHttp1.rpcs, RawHttp1.events)

ATTACKS: tuple[Callable[[RawHttp1], list[bytes]], ...] = (
    RawHttp1.requests,
    RawHttp1.bad_lines,
    RawHttp1.bad_headers,
    RawHttp1.header_flood,
    RawHttp1.bodies,
    RawHttp1.no_http,
)
