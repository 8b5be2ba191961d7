"""Frames of a stream that were read before somebody asked for them."""

import asyncio
from collections import deque

from duebus.errors import DueBusError
from duebus.v1.event_bus_pb2 import SubscribeResponse

__all__ = ["ReadAhead"]


class ReadAhead:
    """A queue with one reader of the stream and one taker at a time. The end of the stream needs no room in it.

    Args:
        limit: Frames; with so many, whoever puts waits.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._frames: deque[SubscribeResponse] = deque()
        self._ended = False
        self._error: DueBusError | None = None
        self._has_room = asyncio.Event()
        self._has_news = asyncio.Event()

    def __len__(self) -> int:
        return len(self._frames)

    async def put(self, frame: SubscribeResponse) -> None:
        """Takes the frame, then waits until there is room for another; a wait that is cancelled loses none."""
        self._frames.append(frame)
        self._has_news.set()
        while len(self._frames) >= self._limit:
            self._has_room.clear()
            await self._has_room.wait()

    def end(self, error: DueBusError | None) -> None:
        """Nothing more comes; with the error that ended the stream, if one did."""
        self._ended, self._error = True, error
        self._has_news.set()

    async def take(self) -> SubscribeResponse | None:
        """The next frame; None after the last. A wait that is cancelled loses none.

        Raises:
            DueBusError: What ended the stream, once, after the last frame.
        """
        while not self._frames and not self._ended:
            self._has_news.clear()
            await self._has_news.wait()
        if self._frames:
            self._has_room.set()
            return self._frames.popleft()
        error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def take_all(self) -> list[SubscribeResponse]:
        """The frames that are there."""
        frames = list(self._frames)
        self._frames.clear()
        self._has_room.set()
        return frames
