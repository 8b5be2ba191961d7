"""The channel of an asyncio client: runs calls, with their retries, and opens streams."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any
from weakref import WeakSet

import grpc
import grpc.aio

from duebus._core.call import SUBSCRIBE, Call, Method, ResponseT, ResultT, serialize
from duebus._core.fields import Span
from duebus._core.retry import Clock, Random, Tries
from duebus._core.settings import Settings
from duebus._core.tracing import with_current_span
from duebus.errors import ClientClosed
from duebus.v1 import event_bus_pb2

Sleep = Callable[[float], Awaitable[None]]
Stream = grpc.aio.UnaryStreamCall[event_bus_pb2.SubscribeRequest, event_bus_pb2.SubscribeResponse]


class Connection:
    """One channel. It is opened by the first call, so that a client may be made where no event loop runs yet."""

    def __init__(
        self, settings: Settings, *, channel: grpc.aio.Channel | None, clock: Clock, sleep: Sleep, random: Random
    ) -> None:
        self._settings = settings
        self._owns_channel = channel is None
        self._channel = channel
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._rpcs: dict[str, Callable[..., Any]] = {}
        self._streams: WeakSet[Stream] = WeakSet()
        self._closed = False

    @property
    def settings(self) -> Settings:
        """What the client was made with."""
        return self._settings

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed

    async def run(self, call: Call[ResponseT, ResultT], timeout: Span | None = None) -> ResultT:
        """Carries a call out, with as many tries as its deadline allows.

        Raises:
            DueBusError: it failed.
        """
        return await self.carry_out(call, self.tries(call, timeout))

    def tries(self, call: Call[Any, Any], timeout: Span | None) -> Tries:
        """The tries of a call that begins now."""
        return Tries(
            repeatable=call.repeatable,
            timeout=self._settings.seconds_for(call, timeout),
            clock=self._clock,
            random=self._random,
        )

    async def carry_out(self, call: Call[ResponseT, ResultT], tries: Tries) -> ResultT:
        """Carries a call out, with these tries.

        Raises:
            DueBusError: it failed.
        """
        while True:
            try:
                response = await self._try(call, tries.remaining())
            except grpc.RpcError as error:
                await self._sleep(tries.pause_after(error))
            else:
                return call.read(response, tries.retried)

    async def _try(self, call: Call[ResponseT, Any], timeout: float | None) -> ResponseT:
        rpc = self._rpc(call.method)
        try:
            response: ResponseT = await rpc(
                call.request, timeout=timeout, metadata=with_current_span(self._settings.metadata)
            )
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if self._closed and task is not None and not task.cancelling():
                # Nobody cancelled the caller: grpc says so when the channel is closed under a call.
                raise ClientClosed("the client was closed during the call") from None
            raise
        except grpc.aio.UsageError as error:
            raise ClientClosed("the channel is closed") from error
        return response

    def open_stream(self, request: event_bus_pb2.SubscribeRequest) -> Stream:
        """Opens the stream of a subscription; never times out by itself."""
        stream: Stream = self._rpc(SUBSCRIBE)(request, metadata=self._settings.metadata)
        self._streams.add(stream)
        return stream

    def _rpc(self, method: Method[Any]) -> Callable[..., Any]:
        if self._closed:
            raise ClientClosed("the client is closed")
        rpc = self._rpcs.get(method.path)
        if rpc is None:
            rpc = self._rpcs[method.path] = self._make_rpc(method)
        return rpc

    def _make_rpc(self, method: Method[Any]) -> Callable[..., Any]:
        channel = self._open_channel()
        make = channel.unary_stream if method.streams else channel.unary_unary
        return make(method.path, request_serializer=serialize, response_deserializer=method.response.FromString)

    def _open_channel(self) -> grpc.aio.Channel:
        if self._channel is None:
            settings = self._settings
            if settings.credentials is None:
                self._channel = grpc.aio.insecure_channel(settings.target, options=settings.options)
            else:
                self._channel = grpc.aio.secure_channel(settings.target, settings.credentials, options=settings.options)
        return self._channel

    async def close(self) -> None:
        """Ends what is under way and closes the channel, unless it was passed in. Closing twice is not an error."""
        self._closed = True
        for stream in list(self._streams):
            stream.cancel()
        if self._channel is not None and self._owns_channel:
            await self._channel.close(None)
