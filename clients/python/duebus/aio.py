"""The asyncio client."""

import asyncio
import random as random_numbers
import time
from collections.abc import Iterable, Mapping
from datetime import datetime
from types import TracebackType
from typing import Any, Self

import grpc

from duebus._aio.admin import AdminClient
from duebus._aio.connection import Connection
from duebus._aio.dispatching import Dispatcher
from duebus._aio.subscription import Subscription
from duebus._aio.transport import Channel, Sleep
from duebus._core import calls
from duebus._core.backoff import Random
from duebus._core.calls import Engines, LeaseCall
from duebus._core.enums import Engine
from duebus._core.events import encode_fields
from duebus._core.fields import Span
from duebus._core.model import Dispatched, LeaseFailure, LeaseRef, Nack, NewEvent, StoppedEngine
from duebus._core.retry import Clock
from duebus._core.settings import DEFAULT_TARGET, DEFAULT_TIMEOUT, ChannelOptions, make_settings

__all__ = ["AdminClient", "Client", "Subscription"]


class Client:
    """A client of the bus for asyncio. `duebus.Client` is the same without asyncio.

    Use it as an async context manager, or call `close`. Many tasks may call its methods at a time.
    It may be made before an event loop runs, and belongs to the event loop of its first call.

    A call that finds the server unavailable is repeated, with growing pauses, until it succeeds or its timeout is over.
    That is safe: a dispatch carries a `request_id`, so that repeating it adds nothing, and a lease is settled once.
    `stop` and `subscribe` are not repeated, nor are the calls of `admin` whose answer counts what they did. A server
    whose certificate is not trusted is an error at once.

    Calls of `dispatch` that wait for one another share an RPC.
    From many tasks, single events are then nearly as fast as batches. Each caller gets the result of its own.

    Every method raises a subclass of `duebus.errors.DueBusError` when the call fails: those of the error table, and
    Unavailable, DeadlineExceeded, Unauthenticated, PermissionDenied and ClientClosed. An argument that can't be
    sent raises InvalidArgument, which is a ValueError too, or TypeError; both name the argument.

    Args:
        target: The server, as `host:port` or any other name that gRPC resolves. Several servers, as
            `host:port,host:port`, get the calls in turn; one that can't be reached is left out for 5 s.
        timeout: How long a call may take with all its tries, unless the call says otherwise: a timedelta or
            seconds. None: as long as it takes.
        channel: A channel to use in place of a new one; it is not closed with the client. `target`, `credentials`
            and `options` are then not used.
        credentials: For TLS, from `grpc.ssl_channel_credentials`. None: plaintext.
        token: A bearer token, sent with each call; over plaintext anybody on the way can read it.
        options: More channel options of gRPC, or others than the client's own.
        clock: Seconds that never jump; for tests.
        sleep: Waits for some seconds; for tests.
        random: A number from 0 to 1; for tests.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: Span | None = DEFAULT_TIMEOUT,
        channel: Channel | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        options: ChannelOptions = (),
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        random: Random = random_numbers.random,
    ) -> None:
        settings = make_settings(target, timeout, credentials, token, options)
        self._connection = Connection(settings, channel=channel, clock=clock, sleep=sleep, random=random)
        self._dispatcher = Dispatcher(self._connection)
        self._admin = AdminClient(self._connection)

    @property
    def admin(self) -> AdminClient:
        """What the bus holds."""
        return self._admin

    @property
    def max_request_bytes(self) -> int:
        """How large a request may be, as the server of the last subscription said; 4 MiB before there was one."""
        return self._connection.max_request_bytes

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends subscriptions and calls under way, and disconnects. Closing twice is not an error."""
        await self._connection.close()

    async def dispatch(
        self,
        topic: str,
        data: Any,
        *,
        id: str = "",  # noqa: A002 - the event's field is called so
        delay: Span | None = None,
        at: datetime | None = None,
        attributes: Mapping[str, str] | None = None,
        content_type: str | None = None,
        max_retries: int | None = None,
        engines: Engines = (),
        request_id: str | None = None,
        require_subscriber: bool = False,
        timeout: Span | None = None,
    ) -> Dispatched:
        """Stores an event, to be delivered to each group of the topic, now or when it is due.

        Args:
            topic: `[A-Za-z0-9][A-Za-z0-9._-]{0,254}`.
            data: See NewEvent, as for `id`, `delay`, `at`, `attributes`, `content_type` and `max_retries`.
            id: See NewEvent.
            delay: See NewEvent.
            at: See NewEvent.
            attributes: See NewEvent.
            content_type: See NewEvent.
            max_retries: See NewEvent.
            engines: Where to store it; none: the server's default engine; several: in each.
            request_id: Makes the dispatch safe to repeat by hand: within 10 minutes, the same one returns the first
                answer and adds nothing. None: a new one.
            require_subscriber: Fail with NoHandlerFound unless somebody is subscribed to the topic.
            timeout: How long it may take with all its tries; None: the client's.

        Raises:
            InvalidArgument: an argument is missing, malformed or out of its range.
            NoDispatcherSpecified: the server does not run one of the engines.
            NoHandlerFound: see `require_subscriber`.
            MaxQueuedEventsReached: the topic is full; nothing was stored.
            DueBusError: any other failure.
        """
        event = encode_fields(
            data,
            id=id,
            delay=delay,
            at=at,
            attributes=attributes,
            content_type=content_type,
            max_retries=max_retries,
        )
        kind = calls.dispatch_kind(topic, engines, require_subscriber)
        if request_id:  # the caller's own: it names this event alone
            (answer,) = await self._connection.run(calls.dispatch_together(kind, [event], request_id), timeout)
            return answer
        return await self._dispatcher.run(kind, event, timeout)

    async def dispatch_many(
        self,
        topic: str,
        events: Iterable[NewEvent | Any],
        *,
        engines: Engines = (),
        request_id: str | None = None,
        require_subscriber: bool = False,
        timeout: Span | None = None,
    ) -> list[Dispatched]:
        """Stores 1 to 1000 events, at most 4 MiB together: all or none. Otherwise as `dispatch`.

        Args:
            topic: As in `dispatch`.
            events: Each a NewEvent, or a bare payload.
            engines: As in `dispatch`.
            request_id: As in `dispatch`.
            require_subscriber: As in `dispatch`.
            timeout: As in `dispatch`.

        Returns:
            What became of each event, in their order.

        Raises:
            NoEventSpecified: there are no events.
            InvalidArgument: there are more than 1000, or one is malformed: `field_violations` names `events[3].delay`.
            DueBusError: as in `dispatch`.
        """
        call = calls.dispatch_many(
            topic, events, engines=engines, request_id=request_id, require_subscriber=require_subscriber
        )
        return await self._connection.run(call, timeout)

    def subscribe(
        self,
        topic: str,
        *,
        group: str = "",
        engine: Engine | str | None = None,
        consumer: str = "",
        max_in_flight: int = 0,
        max_in_flight_bytes: int = 0,
        lease: Span | None = None,
        disconnect_grace: Span | None = None,
        held_lease_tokens: Iterable[LeaseRef] = (),
        timeout: Span | None = None,
    ) -> Subscription:
        """One stream of the topic's due events: `async with client.subscribe(topic) as subscription`.

        Args:
            topic: As in `dispatch`. It need not exist yet.
            group: The workers that share one copy of each event; empty means "default". A new group gets what is
                dispatched from then on, the first group of a topic also what was dispatched before.
            engine: None: the server's default engine.
            consumer: A name to be recognised by in the admin views, at most 255 bytes.
            max_in_flight: How many events may be leased to the stream at once, 1 to 100,000; 0 means 64.
            max_in_flight_bytes: How many bytes of events may be leased to it at once, up to 1 GiB; 0 means 16 MiB.
            lease: For how long a delivery is leased, 100 ms to 12 h; None: as the topic says (30 s by default).
            disconnect_grace: When the stream breaks, its leases run out after this, 0 to 1 h; None: as the server
                says (1 s by default).
            held_lease_tokens: Leases still held from a stream that broke, at most 100,000: they move to this stream.
                Those that were lost meanwhile are named in `Started.lost_lease_tokens`.
            timeout: How long it may take until the stream has started; None: the client's. The stream itself has no
                time limit.

        Returns:
            A stream that is not open yet: entering it opens it and raises what can go wrong.
        """
        request = calls.subscribe_request(
            topic,
            group=group,
            engine=engine,
            consumer=consumer,
            max_in_flight=max_in_flight,
            max_in_flight_bytes=max_in_flight_bytes,
            lease=lease,
            disconnect_grace=disconnect_grace,
            held_lease_tokens=held_lease_tokens,
        )
        return Subscription(self._connection, request, self._connection.settings.seconds_or_default(timeout))

    async def ack(self, *deliveries: LeaseRef | Iterable[LeaseRef], timeout: Span | None = None) -> list[LeaseFailure]:
        """Removes delivered events from their group: they are done. Acking twice is harmless.

        When the call is repeated because the first try's connection broke, a token that then turns out to be settled
        counts as acked: most likely by that first try, and in any case the event is gone.

        Args:
            deliveries: Deliveries or their lease tokens, or iterables of them. What does not fit into one call takes
                several.
            timeout: How long each call may take with all its tries; None: the client's.

        Returns:
            Those that were not acked, and why; the others are.
        """
        return await self._settle(calls.ack(deliveries, self.max_request_bytes), timeout)

    async def nack(
        self,
        delivery: LeaseRef,
        *,
        error: str = "",
        delay: Span | None = None,
        dead_letter: bool = False,
        release: bool = False,
        timeout: Span | None = None,
    ) -> list[LeaseFailure]:
        """Gives a delivered event back: to be retried after the topic's backoff, unless an argument says otherwise.

        Args:
            delivery: The delivery or its lease token.
            error: See Nack, as for `delay`, `dead_letter` and `release`.
            delay: See Nack.
            dead_letter: See Nack.
            release: See Nack.
            timeout: As in `ack`.

        Returns:
            As in `nack_many`.
        """
        nack = Nack(delivery=delivery, error=error, delay=delay, dead_letter=dead_letter, release=release)
        return await self.nack_many((nack,), timeout=timeout)

    async def nack_many(self, nacks: Iterable[Nack], *, timeout: Span | None = None) -> list[LeaseFailure]:
        """Gives delivered events back, each in its own way.

        When the call is repeated because the first try's connection broke, a token that then turns out to be expired
        or settled counts as given back: most likely by that first try, and in any case it is not this holder's.

        Args:
            nacks: More than fit into one call take several.
            timeout: As in `ack`.

        Returns:
            Those that were not given back, and why; the others are.
        """
        return await self._settle(calls.nack(nacks, self.max_request_bytes), timeout)

    async def extend(
        self,
        deliveries: Iterable[LeaseRef] | LeaseRef,
        lease: Span | None = None,
        *,
        timeout: Span | None = None,
    ) -> list[LeaseFailure]:
        """Renews leases: they expire `lease` from now.

        Args:
            deliveries: Deliveries or their lease tokens, or one of them. More than fit into one call take several.
            lease: 100 ms to 12 h; None: as the topic says (30 s by default).
            timeout: As in `ack`.

        Returns:
            Those that were not renewed, and why; the others are.
        """
        return await self._settle(calls.extend(deliveries, lease, self.max_request_bytes), timeout)

    async def _settle(self, batches: Iterable[LeaseCall], timeout: Span | None) -> list[LeaseFailure]:
        return [failure for call in batches for failure in await self._connection.run(call, timeout)]

    async def stop(
        self, engines: Engines = (), drain_timeout: Span | None = None, *, timeout: Span | None = None
    ) -> list[StoppedEngine]:
        """Drains engines and stops them; when none is left, the server ends.

        Args:
            engines: None: all that the server runs.
            drain_timeout: How long to wait for leases to be settled, 0 to 1 h; None: as the server says.
            timeout: How long the call may take; None: until it is done, whatever the client's timeout is.

        Returns:
            One for each engine that was stopped.
        """
        return await self._connection.run(calls.stop(engines, drain_timeout), timeout)

    async def is_serving(self, service: str = "", *, timeout: Span | None = None) -> bool:
        """Asks the health service of gRPC whether the server takes new work; it is not tried again.

        Args:
            service: One of the server's services, such as `duebus.v1.EventBus`; empty: the server as a whole.
            timeout: How long the call may take; None: as long as the client's timeout says.

        Returns:
            False while the server drains.

        Raises:
            NotFound: The server has no such service.
        """
        return await self._connection.run(calls.is_serving(service), timeout)
