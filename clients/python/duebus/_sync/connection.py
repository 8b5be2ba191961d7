"""The channel of a sync client: runs calls, with their retries, and opens streams."""

import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

import grpc

from duebus._core.call import SUBSCRIBE, Call, Method, ResponseT, ResultT, serialize
from duebus._core.fields import Span
from duebus._core.retry import Clock, Random, Tries
from duebus._core.settings import Settings
from duebus._core.tracing import with_current_span
from duebus.errors import ClientClosed
from duebus.v1 import event_bus_pb2

Sleep = Callable[[float], None]

# What grpc returns is an iterator with `cancel`; its stubs do not say so.
Stream = Any


class Connection:
    """One channel, for many threads. It is opened by the first call."""

    def __init__(
        self, settings: Settings, *, channel: grpc.Channel | None, clock: Clock, sleep: Sleep, random: Random
    ) -> None:
        self._settings = settings
        self._owns_channel = channel is None
        self._channel = channel
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._rpcs: dict[str, Callable[..., Any]] = {}
        self._streams: WeakSet[Stream] = WeakSet()
        # Guards everything above that changes, and `_closed`.
        self._lock = threading.RLock()
        self._closed = False

    @property
    def settings(self) -> Settings:
        """What the client was made with."""
        return self._settings

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed

    def run(self, call: Call[ResponseT, ResultT], timeout: Span | None = None) -> ResultT:
        """Carries a call out, with as many tries as its deadline allows.

        Raises:
            DueBusError: it failed.
        """
        tries = Tries(
            repeatable=call.repeatable,
            timeout=self._settings.seconds_for(call, timeout),
            clock=self._clock,
            random=self._random,
        )
        while True:
            try:
                response = self._try(call, tries.remaining())
            except grpc.RpcError as error:
                self._sleep(tries.pause_after(error))
            else:
                return call.read(response, tries.retried)

    def _try(self, call: Call[ResponseT, Any], timeout: float | None) -> ResponseT:
        rpc = self._rpc(call.method)
        try:
            response: ResponseT = rpc(
                call.request, timeout=timeout, metadata=with_current_span(self._settings.metadata)
            )
        except grpc.RpcError as error:
            if self._closed:
                raise ClientClosed("the client was closed during the call") from error
            raise
        except ValueError as error:
            # So grpc refuses a channel that is closed.
            raise ClientClosed("the channel is closed") from error
        return response

    def open_stream(self, request: event_bus_pb2.SubscribeRequest) -> Stream:
        """Opens the stream of a subscription; never times out by itself."""
        rpc = self._rpc(SUBSCRIBE)
        with self._lock:
            if self._closed:
                raise ClientClosed("the client is closed")
            stream = rpc(request, metadata=self._settings.metadata)
            self._streams.add(stream)
            return stream

    def _rpc(self, method: Method[Any]) -> Callable[..., Any]:
        with self._lock:
            if self._closed:
                raise ClientClosed("the client is closed")
            rpc = self._rpcs.get(method.path)
            if rpc is None:
                rpc = self._rpcs[method.path] = self._make_rpc(method)
            return rpc

    def _make_rpc(self, method: Method[Any]) -> Callable[..., Any]:
        channel = self._open_channel()
        make = channel.unary_stream if method.streams else channel.unary_unary
        rpc: Callable[..., Any] = make(
            method.path, request_serializer=serialize, response_deserializer=method.response.FromString
        )
        return rpc

    def _open_channel(self) -> grpc.Channel:
        if self._channel is None:
            settings = self._settings
            if settings.credentials is None:
                self._channel = grpc.insecure_channel(settings.target, options=settings.options)
            else:
                self._channel = grpc.secure_channel(settings.target, settings.credentials, options=settings.options)
        return self._channel

    def close(self) -> None:
        """Ends what is under way and closes the channel, unless it was passed in. Closing twice is not an error."""
        with self._lock:
            self._closed = True
            streams = list(self._streams)
            channel = self._channel
        for stream in streams:
            stream.cancel()
        if channel is not None and self._owns_channel:
            channel.close()
