"""One stream of deliveries, for asyncio."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from types import TracebackType
from typing import Self

from duebus._aio.connection import Connection
from duebus._aio.transport import FrameReader, Turn
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
from duebus.errors import DueBusError
from duebus.v1 import event_bus_pb2


class Subscription:
    """One stream of deliveries: an async context manager, and an async iterator over its deliveries.

    Entering it opens the stream and waits until it has started: the group exists, and nothing dispatched from then on
    is missed. It is one stream and does not reconnect: iteration ends when the server ends the stream (`closing` says
    why), and raises when the connection breaks. `duebus.Worker` reconnects and runs forever.

    Several tasks may iterate over it; each delivery goes to one of them.
    Cancelling a task that waits for a delivery loses no delivery.

    Leaving it closes the stream and releases the deliveries that were not handed out. Those that were handed out can
    still be settled, within the disconnect grace.
    """

    def __init__(self, connection: Connection, request: event_bus_pb2.SubscribeRequest, timeout: float | None) -> None:
        self._connection = connection
        self._request = request
        self._timeout = timeout
        self._reader: FrameReader | None = None
        self._started: Started | None = None
        self._closing: Closing | None = None
        self._unseen: deque[Delivery] = deque()
        self._turn = Turn()
        self._ended = False
        self._closed = False

    async def __aenter__(self) -> Self:
        if self._reader is not None:
            raise RuntimeError("a subscription can be entered once")
        stream = await self._connection.open_stream(self._request, self._timeout)
        self._reader = FrameReader(stream, self._was_closed)
        try:
            self._started = expect_started(await self._next_frame(self._timeout))
            self._connection.max_request_bytes = self._started.max_request_bytes
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
        """The first frame, with the session's id and the limits in force."""
        if self._started is None:
            raise RuntimeError("enter the subscription first: async with client.subscribe(...) as subscription")
        return self._started

    async def frames(self) -> AsyncIterator[Frame]:
        """The frames as the server sends them, `Started` first. Use either this or the deliveries.

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

    async def _next_frame(self, timeout: float | None = None) -> Frame | None:
        while (response := await self._next_response(timeout)) is not None:
            frame = read_frame(response)
            if isinstance(frame, Closing):
                self._closing = frame
            if frame is not None:
                return frame
        self._ended = True
        return None

    async def _next_response(self, timeout: float | None) -> event_bus_pb2.SubscribeResponse | None:
        if self._reader is None or self._ended or self._was_closed():
            return None
        try:
            return await self._reader.next(timeout)
        except DueBusError:
            self._ended = True
            raise

    def _was_closed(self) -> bool:
        return self._closed or self._connection.closed

    async def close(self) -> None:
        """Ends the stream and every iteration over it. Closing twice is not an error."""
        if self._closed or self._reader is None:
            return
        self._closed = True
        for response in await self._reader.close():
            frame = read_frame(response)
            if isinstance(frame, Deliveries):
                self._unseen.extend(frame)
        async with self._turn:
            unseen, self._unseen = self._unseen, deque()
        with suppress(DueBusError):
            for call in calls.nack(release(unseen), self._connection.max_request_bytes):
                await self._connection.run(call, RELEASE_TIMEOUT)
