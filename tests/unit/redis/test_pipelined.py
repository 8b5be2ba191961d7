"""The pipelined connection, against a server whose answers the test writes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
from duebus_server.engine.redis.transport.pipelined import MAX_IN_FLIGHT, PipelinedConnection, State
from redis.exceptions import ConnectionError as LostError
from redis.exceptions import InvalidResponse, ResponseError
from redis.exceptions import TimeoutError as UnansweredError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

COMMAND = b"*1\r\n$4\r\nPING\r\n"


@asynccontextmanager
async def connected(
    answer_timeout_s: float = 5.0,
) -> AsyncIterator[tuple[PipelinedConnection, asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection and its other end."""
    accepted: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    server = await asyncio.start_server(lambda *ends: accepted.put_nowait(ends), "127.0.0.1", 0)
    async with server:
        _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        requests, answers = await accepted.get()
        connection = PipelinedConnection(writer, answer_timeout_s, ResponseError)
        yield connection, requests, answers
        connection.close()
        answers.close()


async def test_answers_are_matched_in_order_however_they_arrive() -> None:
    async with connected() as (connection, _, answers):
        waiting = [connection.send("PING") for _ in range(5)]
        for byte in b":0\r\n-ERR no\r\n$3\r\ntwo\r\n*2\r\n:3\r\n$-1\r\n+four\r\n":
            answers.write(bytes((byte,)))
            await answers.drain()
            await asyncio.sleep(0)
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert found[:1] + found[2:] == [0, b"two", [3, None], b"four"]
        assert isinstance(found[1], ResponseError)
        assert str(found[1]) == "ERR no"


async def test_redis_is_given_a_limited_number_of_commands_at_once() -> None:
    async with connected() as (connection, requests, answers):
        waiting = [connection.send("PING") for _ in range(3 * MAX_IN_FLIGHT)]
        await requests.readexactly(MAX_IN_FLIGHT * len(COMMAND))
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await requests.readexactly(1)
        # when it answers ten, it is given ten more
        answers.write(b"+PONG\r\n" * 10)
        assert await requests.readexactly(10 * len(COMMAND)) == 10 * COMMAND
        answers.write(b"+PONG\r\n" * (MAX_IN_FLIGHT - 10))
        await requests.readexactly((MAX_IN_FLIGHT - 10) * len(COMMAND))
        answers.write(b"+PONG\r\n" * 2 * MAX_IN_FLIGHT)
        assert await asyncio.gather(*waiting) == [b"PONG"] * 3 * MAX_IN_FLIGHT


async def test_a_connection_that_is_retired_reads_the_answers_that_are_under_way() -> None:
    async with connected() as (connection, requests, answers):
        waiting = [connection.send("PING") for _ in range(2)]
        connection.retire()
        assert (connection.state, connection.takes_commands) == (State.DRAINING, False)
        answers.write(b"+one\r\n+two\r\n")
        assert await asyncio.gather(*waiting) == [b"one", b"two"]
        assert await requests.read() == 2 * COMMAND
        assert connection.state is State.CLOSED


async def test_a_connection_without_commands_is_closed_when_it_is_retired() -> None:
    async with connected() as (connection, requests, _):
        connection.retire()
        assert connection.state is State.CLOSED
        assert await requests.read() == b""


async def test_what_redis_sends_unasked_closes_the_connection() -> None:
    async with connected() as (connection, requests, answers):
        answers.write(b"-ERR max number of clients reached\r\n")
        assert await requests.read() == b""
        assert connection.state is State.CLOSED


async def test_what_is_no_answer_of_redis_fails_all_commands() -> None:
    async with connected() as (connection, _, answers):
        waiting = [connection.send("PING") for _ in range(2)]
        answers.write(b"HTTP/1.1 400 Bad Request\r\n")
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(one) for one in found] == [InvalidResponse] * 2


async def test_a_connection_that_redis_closes_takes_no_more_commands() -> None:
    async with connected() as (connection, _, answers):
        waiting = [connection.send("PING") for _ in range(MAX_IN_FLIGHT + 1)]
        answers.write(b"+PONG\r\n")
        answers.close()
        found = await asyncio.gather(*waiting, return_exceptions=True)
        assert found[0] == b"PONG"
        assert [type(one) for one in found[1:]] == [LostError] * MAX_IN_FLIGHT
        assert not connection.takes_commands


async def test_the_oldest_command_that_is_unanswered_for_too_long_fails_all() -> None:
    async with connected(answer_timeout_s=5) as (connection, _, answers):
        first = connection.send("PING")
        await asyncio.sleep(2.6)
        second = connection.send("PING")
        answers.write(b"+PONG\r\n")
        assert await first == b"PONG"
        await asyncio.sleep(2.6)
        assert not second.done()
        third = connection.send("PING")
        found = await asyncio.gather(second, third, return_exceptions=True)
        assert [type(one) for one in found] == [UnansweredError] * 2
