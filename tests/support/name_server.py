"""A name server that knows one name, as a headless Service has it: with the address of each server."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HEADER_SIZE = 12
IPV4, INTERNET = 1, 1
ANSWERED = 0x8580
"""The flags of an answer: authoritative, without an error."""
THE_NAME = b"\xc0\x0c"
"""Points to the name in the question."""


class NameServer(asyncio.DatagramProtocol):
    """Answers every question for IPv4 addresses with the same ones, and other questions with none.

    Attributes:
        addresses: the answer, which a test may change.
        asked: how many questions for IPv4 addresses came.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        end = data.index(b"\0", HEADER_SIZE) + 1
        (kind,) = struct.unpack_from("!H", data, end)
        self.asked += kind == IPV4
        addresses = self.addresses if kind == IPV4 else []
        head = data[:2] + struct.pack("!5H", ANSWERED, 1, len(addresses), 0, 0)
        record = THE_NAME + struct.pack("!HHIH", IPV4, INTERNET, 0, 4)
        answers = b"".join(record + socket.inet_aton(address) for address in addresses)
        self._transport.sendto(head + data[HEADER_SIZE : end + 4] + answers, addr)

    def target(self, port: int) -> str:
        """What a client is given: the name, and the port of every server."""
        own = self._transport.get_extra_info("sockname")
        return f"dns://{own[0]}:{own[1]}/duebus.test:{port}"


@asynccontextmanager
async def name_server(*addresses: str) -> AsyncIterator[NameServer]:
    """A name server on a free port."""
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(lambda: NameServer(*addresses), local_addr=("127.0.0.1", 0))
    try:
        yield server
    finally:
        transport.close()
