"""A connection that many callers share. Commands are sent at once, and answers are matched to them in order."""

from __future__ import annotations

import asyncio
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from hiredis import Reader, pack_command
from redis.exceptions import (
    ConnectionError,  # noqa: A004  # the client's name for it
    InvalidResponse,
    RedisError,
    TimeoutError,  # noqa: A004  # the client's name for it
)

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_IN_FLIGHT = 64
"""How many commands may be in flight. Redis keeps their answers in memory until they are sent."""

_INCOMPLETE = object()
"""What the parser returns while no answer is complete."""


class State(Enum):
    """The state of a pipelined connection; see there."""

    OPEN = "open"
    DRAINING = "draining"
    CLOSED = "closed"


class PipelinedConnection(asyncio.Protocol):
    """Sends commands without waiting for the answers to earlier ones, up to MAX_IN_FLIGHT; Redis answers in order.

    The answer to a command whose caller was cancelled is read and dropped.

    ::

        OPEN -- retire, some are unanswered --> DRAINING -- the last answer ------------+
          |                                        |                                    |
          |   lost, invalid answer, closed, or the oldest command unanswered too long   |
          |   or: retire, all are answered         |                                    v
          +----------------------------------------+--------------------------------> CLOSED

    Args:
        answer_timeout_s: how long an answer may take, in seconds; after that the connection counts as dead.
        to_error: makes an exception of an error reply.

    Attributes:
        state: its state, as drawn above.
    """

    def __init__(
        self, writer: asyncio.StreamWriter, answer_timeout_s: float, to_error: Callable[[str], Exception]
    ) -> None:
        self.state = State.OPEN
        self._answer_timeout_s = answer_timeout_s
        self._loop = asyncio.get_running_loop()
        self._parser = Reader(protocolError=InvalidResponse, replyError=to_error, notEnoughData=_INCOMPLETE)
        self._unwritten: list[bytes] = []
        self._unanswered: deque[tuple[asyncio.Future[Any], float]] = deque()
        self._check: asyncio.TimerHandle | None = None
        self._writer = writer  # keeps the transport open
        self._transport = writer.transport
        self._transport.set_protocol(self)

    @property
    def takes_commands(self) -> bool:
        """Whether ``send`` may be called: it is OPEN, and Redis has not closed it."""
        return self.state is State.OPEN and not self._transport.is_closing()

    def send(self, *command: Any) -> asyncio.Future[Any]:
        """Send a command. Returns a future for its answer.

        The future raises:
            ResponseError: Redis refuses the command.
            ConnectionError, TimeoutError: the connection failed; the command may have been carried out.
        """
        packed: bytes = pack_command(command)
        if not self._unanswered:
            self._transport.write(packed)
        else:  # commands of one turn of the loop are written together
            if not self._unwritten:
                self._loop.call_soon(self._write)
            self._unwritten.append(packed)
        answer: asyncio.Future[Any] = self._loop.create_future()
        give_up_s = self._loop.time() + self._answer_timeout_s
        self._unanswered.append((answer, give_up_s))
        if self._check is None:
            self._check = self._loop.call_at(give_up_s, self._check_oldest)
        return answer

    def retire(self) -> None:
        """Accept no more commands, and close once all are answered."""
        if self.state is State.OPEN:
            self.state = State.DRAINING
            self._close_if_drained()

    def close(self) -> None:
        """Close at once. Commands without an answer raise ConnectionError."""
        self._fail(ConnectionError, "the connection was closed")

    def data_received(self, data: bytes) -> None:
        """Redis has sent answers, or parts of them."""
        self._parser.feed(data)
        try:
            while (reply := self._parser.gets()) is not _INCOMPLETE:
                answer, _ = self._unanswered.popleft()
                if answer.done():
                    continue  # its caller was cancelled
                if isinstance(reply, Exception):
                    answer.set_exception(reply)
                else:
                    answer.set_result(reply)
        except (InvalidResponse, IndexError) as error:
            self._fail(InvalidResponse, str(error))
        if self._unwritten:
            self._write()
        if self.state is State.DRAINING:
            self._close_if_drained()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._fail(ConnectionError, str(exc or "Redis closed the connection"))

    def _write(self) -> None:
        """Write waiting commands, up to MAX_IN_FLIGHT in all. Each answer makes room for another."""
        in_flight = len(self._unanswered) - len(self._unwritten)
        count = min(len(self._unwritten), MAX_IN_FLIGHT - in_flight)
        if count and self.state is not State.CLOSED:
            self._transport.write(b"".join(self._unwritten[:count]))
            del self._unwritten[:count]

    def _close_if_drained(self) -> None:
        if not self._unanswered:
            self.close()

    def _check_oldest(self) -> None:
        """Close if the oldest command has been unanswered for too long; otherwise check again when that may be so."""
        self._check = None
        if not self._unanswered:
            return
        _, give_up_s = self._unanswered[0]
        if self._loop.time() >= give_up_s:
            self._fail(TimeoutError, "no answer in time")
        else:
            self._check = self._loop.call_at(give_up_s, self._check_oldest)

    def _fail(self, kind: type[RedisError], text: str) -> None:
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self._transport.abort()
        if self._check is not None:
            self._check.cancel()
        for answer, _ in self._unanswered:
            if not answer.done():
                answer.set_exception(kind(text))
        self._unanswered.clear()
        self._unwritten.clear()
