"""The service EventBus: each method decodes, calls a use case, encodes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus.v1 import event_bus_pb2

from duebus_server.security.acl import Verb
from duebus_server.wire import decode, encode
from duebus_server.wire.authorization import caller_of_the_call, permit
from duebus_server.wire.deliveries import DeliveryEncoder

if TYPE_CHECKING:
    from collections.abc import Callable

    import grpc.aio

    from duebus_server.bus.dispatching import Dispatching
    from duebus_server.bus.lifecycle import Lifecycle
    from duebus_server.bus.settling import Settling
    from duebus_server.bus.subscribing import Subscribing

    Context = grpc.aio.ServicerContext[Any, Any]


class EventBusServicer:
    """duebus.v1.EventBus. ``event_bus.proto`` documents guarantees and errors."""

    def __init__(
        self,
        dispatching: Dispatching,
        subscribing: Subscribing,
        settling: Settling,
        lifecycle: Lifecycle,
        drain_timeout_us: int,
        max_request_bytes: int,
        now_us: Callable[[], int],
    ) -> None:
        self._dispatching = dispatching
        self._subscribing = subscribing
        self._settling = settling
        self._lifecycle = lifecycle
        self._drain_timeout_us = drain_timeout_us
        self._max_request_bytes = max_request_bytes
        self._now_us = now_us

    async def Dispatch(  # noqa: N802  # the name on the wire
        self, request: event_bus_pb2.DispatchRequest, context: Context
    ) -> event_bus_pb2.DispatchResponse:
        """Store events."""
        identity = caller_of_the_call().identity
        command = decode.dispatch_command(request, context.peer(), self._now_us(), identity)
        return encode.dispatch_response(await self._dispatching.dispatch(command))

    async def Subscribe(self, request: event_bus_pb2.SubscribeRequest, context: Context) -> None:  # noqa: N802
        """Deliver events for as long as the stream is open.

        Writes rather than yields: cancelling the call then cancels this coroutine, and the session ends at once.
        """
        async with self._subscribing.subscribe(decode.subscribe_command(request)) as subscription:
            await context.write(encode.started(subscription, self._max_request_bytes))
            encoder = DeliveryEncoder(subscription.tokens)
            async for frame in subscription.session.frames():
                for response in encode.frame_responses(frame, encoder):
                    await context.write(response)

    async def Ack(  # noqa: N802
        self, request: event_bus_pb2.AckRequest, _context: Context
    ) -> event_bus_pb2.AckResponse:
        """Settle: done."""
        failures = await self._settling.ack(decode.lease_tokens(request), permit(Verb.SUBSCRIBE))
        return event_bus_pb2.AckResponse(failures=encode.lease_failures(failures))

    async def Nack(  # noqa: N802
        self, request: event_bus_pb2.NackRequest, _context: Context
    ) -> event_bus_pb2.NackResponse:
        """Settle deliveries as not done."""
        failures = await self._settling.nack(decode.nack_commands(request), permit(Verb.SUBSCRIBE))
        return event_bus_pb2.NackResponse(failures=encode.lease_failures(failures))

    async def Extend(  # noqa: N802
        self, request: event_bus_pb2.ExtendRequest, _context: Context
    ) -> event_bus_pb2.ExtendResponse:
        """Renew leases."""
        lease_us = decode.lease_us(request)
        failures = await self._settling.extend(decode.lease_tokens(request), lease_us, permit(Verb.SUBSCRIBE))
        return event_bus_pb2.ExtendResponse(failures=encode.lease_failures(failures))

    async def Stop(  # noqa: N802
        self, request: event_bus_pb2.StopRequest, _context: Context
    ) -> event_bus_pb2.StopResponse:
        """Drain engines and stop them."""
        timeout_us = decode.drain_timeout_us(request)
        stopped = await self._lifecycle.stop(
            decode.engine_names(request.engines), self._drain_timeout_us if timeout_us is None else timeout_us
        )
        return event_bus_pb2.StopResponse(engines=[encode.stopped_engine(one) for one in stopped])
