# Made from _aio/connection.py by generate_sync.py. Change that one.
"""Runs the calls of a sync client, including retries, and opens its streams."""

from functools import partial
from typing import Any
from weakref import WeakSet

import grpc

from duebus._core import tokens
from duebus._core.backoff import Random
from duebus._core.batches import DEFAULT_REQUEST_BYTES
from duebus._core.call import SUBSCRIBE, Call, ResponseT, ResultT
from duebus._core.fields import Span
from duebus._core.retry import Clock, Tries
from duebus._core.servers import Servers
from duebus._core.settings import Settings
from duebus._core.tracing import with_current_span
from duebus._sync.transport import Channel, Lock, Sleep, Stream, ask, close_channel, current_owner, invoke, open_channel
from duebus.errors import ClientClosed, DeadlineExceeded, Unavailable
from duebus.v1 import event_bus_pb2


class Connection:
    """The channels of one client. Its first calls open them."""

    def __init__(
        self,
        settings: Settings,
        *,
        channel: Channel | None,
        clock: Clock,
        sleep: Sleep,
        random: Random,
    ) -> None:
        self._settings = settings
        self._owns_channels = channel is None
        self._clock = clock
        self._sleep = sleep
        self._random = random
        self._lock = Lock()
        self._owner: object = None
        self._streams: WeakSet[Stream] = WeakSet()
        self._closed = False
        # The largest request, from the server of the last stream.
        self.max_request_bytes = DEFAULT_REQUEST_BYTES
        self._servers: Servers[Channel] = (
            Servers(settings.targets, partial(open_channel, settings=settings), clock, random)
            if channel is None
            else Servers(("",), lambda _: channel, clock, random)
        )

    @property
    def settings(self) -> Settings:
        """The client's settings."""
        return self._settings

    @property
    def closed(self) -> bool:
        """True once `close` was called."""
        return self._closed

    def run(self, call: Call[ResponseT, ResultT], timeout: Span | None = None) -> ResultT:
        """Carries out a call, with as many tries as its deadline allows.

        Raises:
            DueBusError: it failed.
        """
        return self.carry_out(call, self.tries(call, timeout))

    def tries(self, call: Call[Any, Any], timeout: Span | None) -> Tries:
        """The tries of a call that starts now."""
        return Tries(
            repeatable=call.repeatable,
            timeout=self._settings.seconds_for(call, timeout),
            clock=self._clock,
            random=self._random,
        )

    def carry_out(self, call: Call[ResponseT, ResultT], tries: Tries) -> ResultT:
        """Carries out a call, with these tries.

        Raises:
            DueBusError: it failed.
        """
        while True:
            try:
                metadata = with_current_span(self._metadata(tries.remaining()))
                response = self._try(call, metadata, tries.remaining())
            except (grpc.RpcError, DeadlineExceeded, Unavailable) as error:
                self._sleep(tries.pause_after(error))
            else:
                return call.read(response, tries.retried)

    def _metadata(self, timeout: float | None) -> tokens.Metadata:
        """What a call or a stream carries that begins now.

        Raises:
            Unavailable: there is no token now.
            DeadlineExceeded: there is none in time.
            Unauthenticated: the token can't be sent.
        """
        provider = self._settings.token_provider
        if provider is None:
            return self._settings.metadata
        try:
            token = ask(provider, timeout)
        except DeadlineExceeded:
            raise
        except Exception as error:
            raise tokens.no_token(error) from error
        return tokens.provided(token)

    def _try(self, call: Call[ResponseT, Any], metadata: tokens.Metadata, timeout: float | None) -> ResponseT:
        with self._lock:
            self._refuse_if_closed()
            server = self._servers.take_turn(call.method)
            rpc = self._servers.rpc(server, call.method)
        try:
            response: ResponseT = invoke(
                rpc, call.request, is_closed=self._is_closed, timeout=timeout, metadata=metadata
            )
        except grpc.RpcError as error:
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                self._servers.leave_out(server)
            raise
        return response

    def open_stream(self, request: event_bus_pb2.SubscribeRequest, timeout: float | None) -> Stream:
        """Opens the stream of a subscription. The stream itself has no timeout.

        Args:
            request: Of the subscription.
            timeout: How many seconds a token may take.
        """
        metadata = self._metadata(timeout)
        with self._lock:
            self._refuse_if_closed()
            rpc = self._servers.rpc(self._servers.take_turn(SUBSCRIBE), SUBSCRIBE)
            stream: Stream = rpc(request, metadata=metadata)
            self._streams.add(stream)
            return stream

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise ClientClosed("the client is closed")
        owner = current_owner()
        if self._owner is None:
            self._owner = owner
        elif owner is not self._owner:
            raise RuntimeError("the client belongs to the event loop of its first call; make one in each event loop")

    def _is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Ends running calls and closes the client's own channels. Closing twice is not an error."""
        with self._lock:
            self._closed = True
            streams, channels = list(self._streams), self._servers.channels
        for stream in streams:
            stream.cancel()
        if self._owns_channels:
            for channel in channels:
                close_channel(channel)
