# Made from aio.py by generate_sync.py. Change that one.
"""The client for programs without asyncio."""

import random as random_numbers
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc

from duebus._core import calls
from duebus._core.backoff import Random
from duebus._core.calls import DispatchOptions, Engines, LeaseCall
from duebus._core.enums import Engine
from duebus._core.events import as_list, as_new_events, encode_event, encode_fields
from duebus._core.fields import Span
from duebus._core.interceptors import checked, results, through
from duebus._core.model import Dispatched, LeaseFailure, LeaseRef, Nack, NewEvent, StoppedEngine
from duebus._core.retry import Clock
from duebus._core.settings import DEFAULT_TARGET, DEFAULT_TIMEOUT, ChannelOptions, make_settings
from duebus._core.tracing import dispatching, dispatching_many
from duebus._sync.admin import AdminClient
from duebus._sync.connection import Connection
from duebus._sync.dispatching import Dispatcher
from duebus._sync.schedules import ScheduleClient
from duebus._sync.subscription import Subscription
from duebus._sync.transport import Channel, DispatchInterceptor, DispatchNext, Sleep, TokenProvider

__all__ = ["AdminClient", "Client", "DispatchInterceptor", "DispatchNext", "ScheduleClient", "Subscription"]


class Client:
    """A client of the bus without asyncio. `duebus.aio.Client` is the same for asyncio.

    Use it as a context manager, or call `close`. Many threads may call its methods at the same time.

    A call is retried with a growing backoff while the server is unavailable, until it succeeds or its timeout expires.
    Retrying is safe: a dispatch has a `request_id`, so a retry adds nothing, and a lease is settled only once. `stop`
    and `subscribe` are not retried, nor are calls of `admin` whose answer counts what they did. A server whose
    certificate is not trusted is an error at once.

    Each call of `dispatch` is a separate RPC.
    Batches, with `dispatch_many`, are the fastest way to send many events.

    Every method raises a subclass of `duebus.errors.DueBusError` if the call fails: one of the error table, or
    Unavailable, DeadlineExceeded, Unauthenticated, PermissionDenied or ClientClosed. An argument that can't be sent
    raises InvalidArgument, which is also a ValueError, or TypeError; both name the argument.

    Args:
        target: The server, as `host:port` or any other name that gRPC resolves. Several servers, as
            `host:port,host:port`, get the calls in turn; one that can't be reached is skipped for 5 s. So do the
            addresses of a name. When one of them goes, the name is resolved again.
        timeout: How long a call may take, including retries, unless the call sets its own timeout: a timedelta or
            seconds. None: no limit.
        channel: A channel to use instead of a new one. It is not closed with the client, and `target`, `credentials`
            and `options` are ignored.
        credentials: For TLS, from `grpc.ssl_channel_credentials`. None: plaintext.
        token: A bearer token, sent with each call, or a function that is asked for one before each call and each
            stream, so that tokens can rotate; it should cache them.
            Many threads may call it at the same time.
            Empty: none. White space around a token is left out. While the function raises or has no token, calls
            fail with Unavailable and are retried, and workers reconnect. Over plaintext, anyone on the network path
            can read a token.
        interceptors: Functions around each dispatch, the first outermost, for example to add attributes to its events:
            `def interceptor(topic, events, call_next)`. Each gets NewEvents, and returns what
            `call_next(topic, events)` returns: a result for each event.
        options: gRPC channel options that add to or override the client's own.
        clock: Returns monotonic seconds; for tests.
        sleep: Waits for a number of seconds; for tests.
        random: Returns a number from 0 to 1; for tests.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        timeout: Span | None = DEFAULT_TIMEOUT,
        channel: Channel | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | TokenProvider | None = None,
        interceptors: Iterable[DispatchInterceptor] = (),
        options: ChannelOptions = (),
        clock: Clock = time.monotonic,
        sleep: Sleep = time.sleep,
        random: Random = random_numbers.random,
    ) -> None:
        settings = make_settings(target, timeout, credentials, token, options)
        self._connection = Connection(settings, channel=channel, clock=clock, sleep=sleep, random=random)
        self._dispatcher = Dispatcher(self._connection)
        self._interceptors = checked(interceptors)
        self._admin = AdminClient(self._connection)
        self._schedules = ScheduleClient(self._connection)

    @property
    def admin(self) -> AdminClient:
        """The admin calls."""
        return self._admin

    @property
    def schedules(self) -> ScheduleClient:
        """Schedules: rules that dispatch an event again and again."""
        return self._schedules

    @property
    def max_request_bytes(self) -> int:
        """The largest request, from the server of the last subscription; 4 MiB before the first one."""
        return self._connection.max_request_bytes

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends subscriptions and running calls, and disconnects. Closing twice is not an error."""
        self._connection.close()

    def dispatch(
        self,
        topic: str,
        data: Any,
        *,
        id: str = "",  # noqa: A002 - the event's field has this name
        delay: Span | None = None,
        at: datetime | None = None,
        attributes: Mapping[str, str] | None = None,
        content_type: str | None = None,
        max_retries: int | None = None,
        key: str = "",
        priority: int = 0,
        engines: Engines = (),
        request_id: str | None = None,
        require_subscriber: bool = False,
        timeout: Span | None = None,
    ) -> Dispatched:
        """Stores an event, to be delivered to each group of the topic, now or when it is due.

        Args:
            topic: `[A-Za-z0-9][A-Za-z0-9._-]{0,254}`.
            data: See NewEvent, as for `id`, `delay`, `at`, `attributes`, `content_type`, `max_retries`, `key` and
                `priority`.
            id: See NewEvent.
            delay: See NewEvent.
            at: See NewEvent.
            attributes: See NewEvent.
            content_type: See NewEvent.
            max_retries: See NewEvent.
            key: See NewEvent.
            priority: See NewEvent.
            engines: The engines that store it; none: the server's default engine.
            request_id: Makes the dispatch safe to repeat: within 10 minutes, the same id returns the first answer and
                adds nothing. None: a new id.
            require_subscriber: Fail with NoHandlerFound unless the topic has a subscriber.
            timeout: How long it may take, including retries; None: the client's.

        Raises:
            InvalidArgument: an argument is missing, malformed or out of its range.
            NoDispatcherSpecified: the server does not run one of the engines.
            NoHandlerFound: see `require_subscriber`.
            MaxQueuedEventsReached: the topic is full, or too many events with this key are blocked; nothing was stored.
            DueBusError: any other failure.
        """
        with dispatching(topic, id, attributes):
            if self._interceptors:
                event = NewEvent(
                    data=data,
                    id=id,
                    delay=delay,
                    at=at,
                    attributes=attributes,
                    content_type=content_type,
                    max_retries=max_retries,
                    key=key,
                    priority=priority,
                )
                options = DispatchOptions(engines, request_id, require_subscriber, timeout)
                (result,) = self._intercept(topic, [event], partial(self._send_intercepted, options))
                return result
            encoded = encode_fields(
                data,
                id=id,
                delay=delay,
                at=at,
                attributes=attributes,
                content_type=content_type,
                max_retries=max_retries,
                key=key,
                priority=priority,
            )
            kind = calls.dispatch_kind(topic, engines, require_subscriber)
            return self._dispatcher.run(kind, encoded, timeout, request_id)

    def dispatch_many(
        self,
        topic: str,
        events: Iterable[NewEvent | Any],
        *,
        engines: Engines = (),
        request_id: str | None = None,
        require_subscriber: bool = False,
        timeout: Span | None = None,
    ) -> list[Dispatched]:
        """Stores 1 to 1000 events, at most 4 MiB together, all or none. Otherwise as `dispatch`.

        Args:
            topic: As in `dispatch`.
            events: Each a NewEvent, or a bare payload.
            engines: As in `dispatch`.
            request_id: As in `dispatch`.
            require_subscriber: As in `dispatch`.
            timeout: As in `dispatch`.

        Returns:
            The result of each event, in order.

        Raises:
            NoEventSpecified: there are no events.
            InvalidArgument: there are more than 1000, or one is malformed: `field_violations` names `events[3].delay`.
            DueBusError: as in `dispatch`.
        """
        options = DispatchOptions(engines, request_id, require_subscriber, timeout)
        given = as_list(events)
        with dispatching_many(topic, given):
            if self._interceptors:
                return self._intercept(topic, as_new_events(given), partial(self._send_many, options))
            return self._send_many(options, topic, given)

    def _intercept(self, topic: str, events: Sequence[NewEvent], send: DispatchNext) -> list[Dispatched]:
        """Passes a dispatch through the interceptors."""
        return results(through(self._interceptors, send)(topic, events), len(events))

    def _send_intercepted(self, options: DispatchOptions, topic: str, events: Sequence[NewEvent]) -> list[Dispatched]:
        """Sends what the interceptors have made of a single event."""
        if len(events) != 1:
            return self._send_many(options, topic, events)
        kind = calls.dispatch_kind(topic, options.engines, options.require_subscriber)
        return [self._dispatcher.run(kind, encode_event(events[0]), options.timeout, options.request_id)]

    def _send_many(self, options: DispatchOptions, topic: str, events: Iterable[NewEvent | Any]) -> list[Dispatched]:
        return self._connection.run(calls.dispatch_many(topic, events, options), options.timeout)

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
        ephemeral: bool = False,
        timeout: Span | None = None,
    ) -> Subscription:
        """One stream of the topic's due events: `with client.subscribe(topic) as subscription`.

        Args:
            topic: As in `dispatch`. It need not exist yet.
            group: The workers that share one copy of each event; empty means "default", or with `ephemeral` a new name,
                reported in `Started.group`. A new group gets what is dispatched from then on; the first lasting group
                of a topic also gets what was dispatched before.
            engine: None: the server's default engine.
            consumer: A name for the subscriber in the admin views, at most 255 bytes.
            max_in_flight: How many events may be leased to the stream at once, 1 to 100,000; 0 means 64.
            max_in_flight_bytes: How many bytes of events may be leased to it at once, up to 1 GiB; 0 means 16 MiB.
            lease: How long a delivery is leased, 100 ms to 12 h; None: the topic's setting (30 s by default).
            disconnect_grace: How long leases last after the stream breaks, 0 to 1 h; None: the server's setting (1 s
                by default).
            held_lease_tokens: Leases still held from a broken stream, at most 100,000. They move to this stream;
                `Started.lost_lease_tokens` names those that were lost.
            ephemeral: Whether the group is deleted `disconnect_grace` after its last stream has ended, instead of
                lasting until someone deletes it. It gets only what is dispatched while it exists: for events that
                every instance must see, and to watch a topic.
            timeout: How long the stream may take to start; None: the client's. The stream itself has no timeout.

        Returns:
            A stream that is not open yet. Entering it opens it and raises any error.
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
            ephemeral=ephemeral,
        )
        return Subscription(self._connection, request, self._connection.settings.seconds_or_default(timeout))

    def ack(self, *deliveries: LeaseRef | Iterable[LeaseRef], timeout: Span | None = None) -> list[LeaseFailure]:
        """Acks deliveries: their events are done, and removed from the group. Acking twice is harmless.

        If the call is retried because its connection broke, a token that then turns out to be settled counts as acked:
        probably by the first try, and in any case the event is gone.

        Args:
            deliveries: Deliveries or their lease tokens, or iterables of them. Several calls are made if they do not
                fit into one.
            timeout: How long each call may take, including retries; None: the client's.

        Returns:
            The leases that were not acked, and why.
        """
        return self._settle(calls.ack(deliveries, self.max_request_bytes), timeout)

    def nack(
        self,
        delivery: LeaseRef,
        *,
        error: str = "",
        delay: Span | None = None,
        dead_letter: bool = False,
        release: bool = False,
        timeout: Span | None = None,
    ) -> list[LeaseFailure]:
        """Gives a delivery back, to be retried after the topic's backoff unless an argument chooses otherwise.

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
        return self.nack_many((nack,), timeout=timeout)

    def nack_many(self, nacks: Iterable[Nack], *, timeout: Span | None = None) -> list[LeaseFailure]:
        """Gives deliveries back, each in its own way.

        If the call is retried because its connection broke, a token that then turns out to be expired or settled counts
        as given back: probably by the first try, and in any case the lease is over.

        Args:
            nacks: Several calls are made if they do not fit into one.
            timeout: As in `ack`.

        Returns:
            The leases that were not given back, and why.
        """
        return self._settle(calls.nack(nacks, self.max_request_bytes), timeout)

    def extend(
        self,
        deliveries: Iterable[LeaseRef] | LeaseRef,
        lease: Span | None = None,
        *,
        timeout: Span | None = None,
    ) -> list[LeaseFailure]:
        """Renews leases: they expire `lease` from now.

        Args:
            deliveries: One or several deliveries or lease tokens. Several calls are made if they do not fit into one.
            lease: 100 ms to 12 h; None: the topic's setting (30 s by default).
            timeout: As in `ack`.

        Returns:
            The leases that were not renewed, and why.
        """
        return self._settle(calls.extend(deliveries, lease, self.max_request_bytes), timeout)

    def _settle(self, batches: Iterable[LeaseCall], timeout: Span | None) -> list[LeaseFailure]:
        return [failure for call in batches for failure in self._connection.run(call, timeout)]

    def stop(
        self, engines: Engines = (), drain_timeout: Span | None = None, *, timeout: Span | None = None
    ) -> list[StoppedEngine]:
        """Drains engines and stops them. The server ends when none is left.

        Args:
            engines: None: all engines of the server.
            drain_timeout: How long to wait for leases to be settled, 0 to 1 h; None: the server's setting.
            timeout: How long the call may take; None: no limit, even if the client has a timeout.

        Returns:
            The engines that were stopped.
        """
        return self._connection.run(calls.stop(engines, drain_timeout), timeout)

    def is_serving(self, service: str = "", *, timeout: Span | None = None) -> bool:
        """Asks the gRPC health service whether the server accepts new work. The call is not retried.

        Args:
            service: One of the server's services, such as `duebus.v1.EventBus`; empty: the server as a whole.
            timeout: How long the call may take; None: the client's.

        Returns:
            False while the server drains.

        Raises:
            NotFound: The server has no such service.
        """
        return self._connection.run(calls.is_serving(service), timeout)
