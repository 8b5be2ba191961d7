"""The parts of the client that differ for threads; see `duebus._aio.transport`."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc

from duebus._core.model import Dispatched, NewEvent
from duebus._core.settings import Settings
from duebus.errors import ClientClosed, from_rpc_error
from duebus.v1 import event_bus_pb2

Sleep = Callable[[float], None]
TokenProvider = Callable[[], str]
DispatchNext = Callable[[str, Sequence[NewEvent]], list[Dispatched]]
"""Passes events on to the next interceptor, after the last one to the server. Returns a result for each, in order.

Each call is a dispatch, with the caller's `request_id` if there is one: a second call to the same topic then repeats
the first and adds nothing.
"""
DispatchInterceptor = Callable[[str, Sequence[NewEvent], DispatchNext], list[Dispatched]]
"""Comes between the caller and each dispatch: `def interceptor(topic, events, call_next)`.

It may pass on another topic and other events, and returns a result for each event that it was given. Many threads may
call it at the same time.
"""
Channel = grpc.Channel
Stream = Any
"""The iterator with `cancel` that grpc returns; its stubs lack it."""

# Guards state that calls change.
Lock = threading.RLock
# Held while waiting for the next frame of a stream. Reentrant, so that a signal handler can close the stream that its
# own thread is reading.
Turn = threading.RLock


def open_channel(target: str, settings: Settings) -> Channel:
    """A channel to one server."""
    if settings.credentials is None:
        return grpc.insecure_channel(target, options=settings.options)
    return grpc.secure_channel(target, settings.credentials, options=settings.options)


def close_channel(channel: Channel) -> None:
    """Cancels the running calls."""
    channel.close()


def current_owner() -> object:
    """Threads share a client."""
    return None


def ask(provider: TokenProvider, _timeout: float | None) -> object:
    """What a provider of tokens returns."""
    return provider()


def invoke(rpc: Callable[..., Any], request: object, *, is_closed: Callable[[], bool], **options: Any) -> Any:
    """Carries out a unary call.

    Raises:
        grpc.RpcError: It failed.
        ClientClosed: The client, or the channel that it was given, was closed.
    """
    try:
        return rpc(request, **options)
    except grpc.RpcError as error:
        if is_closed():
            raise ClientClosed("the client was closed during the call") from error
        raise
    except ValueError as error:
        # How grpc refuses a closed channel.
        raise ClientClosed("the channel is closed") from error


class FrameReader:
    """Reads the frames of one stream.

    Args:
        is_closed: Whether the subscription was closed: the stream then ends without an error.
    """

    def __init__(self, stream: Stream, is_closed: Callable[[], bool]) -> None:
        self._stream = stream
        self._is_closed = is_closed

    def next(self, timeout: float | None = None) -> event_bus_pb2.SubscribeResponse | None:
        """The next frame; None after the last.

        Args:
            timeout: Seconds, after which the stream is cancelled; None: as long as it takes.

        Raises:
            DueBusError: What ended the stream.
            TimeoutError: No frame came in time.
        """
        try:
            with self._timer(timeout):
                response: event_bus_pb2.SubscribeResponse | None = next(self._stream, None)
        except grpc.RpcError as error:
            if self._is_closed():
                return None
            raise from_rpc_error(error) from error
        return None if self._is_closed() else response

    @contextmanager
    def _timer(self, timeout: float | None) -> Iterator[None]:
        if timeout is None:
            yield
            return
        expired = threading.Event()

        def expire() -> None:
            expired.set()
            self._stream.cancel()

        timer = threading.Timer(timeout, expire)
        timer.daemon = True
        timer.start()
        try:
            yield
        except grpc.RpcError:
            if expired.is_set():
                raise TimeoutError from None
            raise
        finally:
            timer.cancel()

    def close(self) -> list[event_bus_pb2.SubscribeResponse]:
        """Ends the stream. Every frame that arrived has been read."""
        self._stream.cancel()
        return []
