"""One stream of deliveries, for asyncio."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

import grpc
import grpc.aio

from duebus._aio.connection import Connection, Stream
from duebus._aio.read_ahead import ReadAhead
from duebus._core import calls
from duebus._core.delivery import Delivery
from duebus._core.frames import (
    RELEASE_TIMEOUT,
    Closing,
    Deliveries,
    Frame,
    Started,
    expect_started,
    not_started_in_time,
    read_frame,
    release,
)
from duebus.errors import ClientClosed, DueBusError, from_rpc_error
from duebus.v1 import event_bus_pb2

# Frames that wait for whoever iterates, beyond what grpc holds itself.
READ_AHEAD = 16


class Subscription:
    """One stream of deliveries: an async context manager, and an async iterator over its deliveries.

    Entering it opens the stream and waits until it has started: the group exists, and nothing dispatched from
    then on is missed. It is one stream and does not reconnect: iterating it ends when the server ends the stream
    (`closing` tells why), and raises when the connection breaks. `duebus.Worker` is what goes on for ever.

    Several tasks may iterate it; each delivery goes to one of them. Cancelling a task that waits for a delivery
    loses none. Leaving it closes the stream and releases the deliveries that came but were not handed out; those
    that were handed out can still be settled, within the disconnect grace.
    """

    def __init__(self, connection: Connection, request: event_bus_pb2.SubscribeRequest, timeout: float | None) -> None:
        self._connection = connection
        self._request = request
        self._timeout = timeout
        self._stream: Stream | None = None
        self._started: Started | None = None
        self._closing: Closing | None = None
        self._unseen: deque[Delivery] = deque()
        self._turn = asyncio.Lock()
        self._arrivals = ReadAhead(READ_AHEAD)
        self._reader: asyncio.Task[None] | None = None
        self._ended = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._stream is not None:
            raise RuntimeError("a subscription can be entered once")
        self._stream = self._connection.open_stream(self._request)
        try:
            async with asyncio.timeout(self._timeout):
                self._started = expect_started(await self._next_frame())
        except TimeoutError:
            await self.close()
            raise not_started_in_time(self._connection.settings.target, self._timeout) from None
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def closing(self) -> Closing | None:
        """Why the server ended the stream; None while it has not."""
        return self._closing

    async def started(self) -> Started:
        """The first frame: the session's id and the limits in force."""
        if self._started is None:
            raise RuntimeError("enter the subscription first: async with client.subscribe(...) as subscription")
        return self._started

    async def frames(self) -> AsyncIterator[Frame]:
        """The frames as the server sends them, `Started` first. Use either this or the deliveries one by one.

        Raises:
            DueBusError: the stream broke.
        """
        yield await self.started()
        while True:
            async with self._turn:
                frame = await self._next_frame()
            if frame is None:
                return
            yield frame

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Delivery:
        await self.started()
        async with self._turn:
            while not self._unseen or self._was_closed():
                frame = await self._next_frame()
                if frame is None:
                    raise StopAsyncIteration
                if isinstance(frame, Deliveries):
                    self._unseen.extend(frame)
            return self._unseen.popleft()

    async def _next_frame(self) -> Frame | None:
        while (response := await self._next_response()) is not None:
            frame = read_frame(response)
            if isinstance(frame, Closing):
                self._closing = frame
            if frame is not None:
                return frame
        self._ended = True
        return None

    async def _next_response(self) -> event_bus_pb2.SubscribeResponse | None:
        if self._stream is None or self._ended or self._was_closed():
            return None
        if self._reader is None:
            # A task of its own: grpc ends the whole stream when a task that reads it is cancelled.
            self._reader = asyncio.create_task(self._read_all(self._stream))
        return await self._arrivals.take()

    async def _read_all(self, stream: Stream) -> None:
        """Puts what arrives where it is taken from, at last the end of the stream."""
        end: DueBusError | None = None
        try:
            while isinstance(response := await stream.read(), event_bus_pb2.SubscribeResponse):
                await self._arrivals.put(response)
        except asyncio.CancelledError:
            # By grpc when the channel was closed, or by whoever ends the loop.
            end = ClientClosed("the channel was closed under the subscription")
            raise
        except grpc.RpcError as error:
            end = from_rpc_error(error)
            end.__cause__ = error
        finally:
            self._arrivals.end(None if self._was_closed() else end)

    def _was_closed(self) -> bool:
        return self._closed or self._connection.closed

    async def close(self) -> None:
        """Ends the stream and whoever iterates it. Closing twice is not an error."""
        if self._closed or self._stream is None:
            return
        self._closed = True
        self._stream.cancel()
        if (reader := self._reader) is not None:
            # That makes room for a frame that is being read now.
            self._collect_unread()
            await asyncio.wait((reader,))
            self._collect_unread()
        await self._release_unseen()

    def _collect_unread(self) -> None:
        for response in self._arrivals.take_all():
            frame = read_frame(response)
            if isinstance(frame, Deliveries):
                self._unseen.extend(frame)

    async def _release_unseen(self) -> None:
        unseen, self._unseen = self._unseen, deque()
        with suppress(DueBusError):
            for call in calls.nack(release(unseen)):
                await self._connection.run(call, RELEASE_TIMEOUT)
