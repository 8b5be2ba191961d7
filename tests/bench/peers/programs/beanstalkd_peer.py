"""beanstalkd over its own text protocol: commands are pipelined, which no client library does.

The commands are those of beanstalkd's ``protocol.txt``: ``put``, ``reserve``, ``reserve-with-timeout`` and ``delete``.
"""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING

from bench.peers.programs.program import Tally, play
from bench.roles.role import begin

if TYPE_CHECKING:
    from collections.abc import Sequence

TIME_TO_RUN_S = 60
RESERVE = 500
"""How many reserves are sent at once."""


class Connection:
    """Commands in order, replies in the same order."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, address: str) -> Connection:
        """To HOST:PORT."""
        host, _, port = address.rpartition(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def put(self, bodies: Sequence[str], delay_s: int = 0) -> None:
        """Sends all in one write, then reads their replies."""
        for text in bodies:
            data = text.encode()
            self._writer.write(b"put 0 %d %d %d\r\n%s\r\n" % (delay_s, TIME_TO_RUN_S, len(data), data))
        await self._writer.drain()
        for _ in bodies:
            await self._expect(b"INSERTED")

    def settle_and_ask(self, ids: Sequence[bytes], count: int) -> None:
        """Delete these jobs and reserve others: wait for one, and take up to a window of those that are ready."""
        deletes = b"".join(b"delete %s\r\n" % one for one in ids)
        self._writer.write(deletes + b"reserve\r\n" + b"reserve-with-timeout 0\r\n" * (count - 1))

    def settle(self, ids: Sequence[bytes]) -> None:
        """Delete these."""
        self._writer.write(b"".join(b"delete %s\r\n" % one for one in ids))

    async def settled(self, count: int) -> None:
        """Reads the replies to deletes."""
        for _ in range(count):
            await self._expect(b"DELETED")

    async def reserved(self) -> tuple[bytes, str] | None:
        """Reads the reply to one reserve: id and body, or None if there was no job."""
        answer = (await self._reader.readline()).split()
        if answer == [b"TIMED_OUT"]:
            return None
        if answer[:1] != [b"RESERVED"]:
            raise ConnectionError(f"expected RESERVED, got {answer}")
        return answer[1], (await self._reader.readexactly(int(answer[2]) + 2))[:-2].decode()

    async def _expect(self, word: bytes) -> None:
        answer = await self._reader.readline()
        if not answer.startswith(word):
            raise ConnectionError(f"expected {word!r}, got {answer!r}")


class Sender:
    """One connection for batches, and one for each caller that waits for its own reply."""

    def __init__(self, address: str, first: Connection) -> None:
        self._address = address
        self._idle = [first]

    async def many(self, bodies: Sequence[str]) -> None:
        """Pipelined."""
        connection = await self._take()
        await connection.put(bodies)
        self._idle.append(connection)

    async def one(self, text: str, delay_s: float = 0) -> None:
        """Returns when the server has it; delays are in whole seconds, here rounded up."""
        connection = await self._take()
        await connection.put([text], math.ceil(delay_s))
        self._idle.append(connection)

    async def _take(self) -> Connection:
        return self._idle.pop() if self._idle else await Connection.open(self._address)


async def open_sender(address: str) -> Sender:
    """Connected."""
    return Sender(address, await Connection.open(address))


async def work(address: str, concurrency: int, tally: Tally) -> None:
    """One connection: handled jobs are deleted in the same write that reserves more."""
    connection = await Connection.open(address)
    window = min(concurrency, RESERVE)
    await begin()
    ids: list[bytes] = []
    while not tally.done.is_set():
        connection.settle_and_ask(ids, window)
        await connection.settled(len(ids))
        ids = await _handle(connection, window, tally)
    connection.settle(ids)
    await connection.settled(len(ids))


async def _handle(connection: Connection, window: int, tally: Tally) -> list[bytes]:
    """Handle what the replies to a window of reserves bring; the ids of these jobs."""
    ids = []
    for _ in range(window):
        reserved = await connection.reserved()
        if reserved is not None:
            tally.handle(reserved[1])
            ids.append(reserved[0])
    return ids


if __name__ == "__main__":
    play(open_sender, work)
