"""The parts of the client that differ for asyncio. `duebus._sync.transport` has the same names for threads.

Everything else is written once: `generate_sync.py` makes the sync client from the asyncio one.
"""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from contextlib import nullcontext
from typing import Any

import grpc
import grpc.aio

from duebus._core.model import Dispatched, NewEvent
from duebus._core.settings import Settings
from duebus.errors import ClientClosed, DeadlineExceeded, DueBusError, from_rpc_error
from duebus.v1 import event_bus_pb2

Sleep = Callable[[float], Awaitable[None]]
TokenProvider = Callable[[], str | Awaitable[str]]
DispatchNext = Callable[[str, Sequence[NewEvent]], Awaitable[list[Dispatched]]]
"""Passes events on to the next interceptor, after the last one to the server. Returns a result for each, in order.

Each call is a dispatch, with the caller's `request_id` if there is one: a second call to the same topic then repeats
the first and adds nothing.
"""
DispatchInterceptor = Callable[[str, Sequence[NewEvent], DispatchNext], Awaitable[list[Dispatched]]]
"""Comes between the caller and each dispatch: `async def interceptor(topic, events, call_next)`.

It may pass on another topic and other events, and returns a result for each event that it was given.
"""
Channel = grpc.aio.Channel
Stream = grpc.aio.UnaryStreamCall[event_bus_pb2.SubscribeRequest, event_bus_pb2.SubscribeResponse]

# Guards state that calls change. A single thread needs no guard.
Lock = nullcontext[None]
# Held while waiting for the next frame of a stream.
Turn = asyncio.Lock

# Frames that wait for an iterator, beyond those that grpc holds itself.
READ_AHEAD = 16


def open_channel(target: str, settings: Settings) -> Channel:
    """A channel to one server."""
    if settings.credentials is None:
        return grpc.aio.insecure_channel(target, options=settings.options)
    return grpc.aio.secure_channel(target, settings.credentials, options=settings.options)


async def close_channel(channel: Channel) -> None:
    """Cancels the running calls."""
    await channel.close(None)


def current_owner() -> object:
    """The event loop that a client belongs to from its first call."""
    return asyncio.get_running_loop()


async def ask(provider: TokenProvider, timeout: float | None) -> object:
    """What a provider of tokens returns.

    Raises:
        DeadlineExceeded: It took longer than the call may take.
    """
    limit = asyncio.timeout(timeout)
    try:
        async with limit:
            token = provider()
            return await token if inspect.isawaitable(token) else token
    except TimeoutError:
        if limit.expired():
            raise DeadlineExceeded("no token in time") from None
        raise


async def invoke(rpc: Callable[..., Any], request: object, *, is_closed: Callable[[], bool], **options: Any) -> Any:
    """Carries out a unary call.

    Raises:
        grpc.RpcError: It failed.
        ClientClosed: The client, or the channel that it was given, was closed.
    """
    try:
        return await rpc(request, **options)
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if is_closed() and task is not None and not task.cancelling():
            # Nobody cancelled the caller: grpc reports a cancellation when the channel is closed during a call.
            raise ClientClosed("the client was closed during the call") from None
        raise
    except grpc.aio.UsageError as error:
        raise ClientClosed("the channel is closed") from error


class FrameReader:
    """Reads the frames of one stream.

    A separate task reads: grpc ends the whole stream if a task that reads it is cancelled.

    Args:
        is_closed: Whether the subscription was closed: the stream then ends without an error.
    """

    def __init__(self, stream: Stream, is_closed: Callable[[], bool]) -> None:
        self._stream = stream
        self._is_closed = is_closed
        self._frames: asyncio.Queue[event_bus_pb2.SubscribeResponse | None] = asyncio.Queue(READ_AHEAD)
        self._task: asyncio.Task[None] | None = None
        self._ended = False
        self._error: DueBusError | None = None

    async def next(self, timeout: float | None = None) -> event_bus_pb2.SubscribeResponse | None:
        """The next frame; None after the last. Cancelling the wait loses no frame.

        Args:
            timeout: Seconds; None: as long as it takes.

        Raises:
            DueBusError: What ended the stream, once.
            TimeoutError: No frame came in time.
        """
        if self._task is None:
            self._task = asyncio.create_task(self._read_all())
        if timeout is None:  # as of every frame but the first
            return await self._take()
        async with asyncio.timeout(timeout):
            return await self._take()

    async def _take(self) -> event_bus_pb2.SubscribeResponse | None:
        frame = None if self._ended and self._frames.empty() else await self._frames.get()
        if frame is None and self._error is not None:
            error, self._error = self._error, None
            raise error
        return frame

    async def close(self) -> list[event_bus_pb2.SubscribeResponse]:
        """Ends the stream. Returns the frames that were not read."""
        self._stream.cancel()
        unseen = self._take_all()  # makes room for a frame that is being read now
        if self._task is not None:
            await asyncio.wait((self._task,))
            unseen += self._take_all()
        return unseen

    async def _read_all(self) -> None:
        end: DueBusError | None = None
        try:
            while isinstance(response := await self._stream.read(), event_bus_pb2.SubscribeResponse):
                await self._frames.put(response)
        except asyncio.CancelledError:
            # By grpc because the channel was closed, or by the end of the loop.
            end = ClientClosed("the channel was closed under the subscription")
            raise
        except grpc.RpcError as error:
            end = from_rpc_error(error)
            end.__cause__ = error
        finally:
            self._end(None if self._is_closed() else end)

    def _end(self, error: DueBusError | None) -> None:
        self._ended, self._error = True, error
        if self._frames.empty():  # only then can a caller be waiting
            self._frames.put_nowait(None)

    def _take_all(self) -> list[event_bus_pb2.SubscribeResponse]:
        frames = []
        while not self._frames.empty():
            if (frame := self._frames.get_nowait()) is not None:
                frames.append(frame)
        return frames
