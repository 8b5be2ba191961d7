"""The worker: runs handlers on the events of topics."""

import asyncio
import os
import socket
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar

from duebus._core.enums import Engine
from duebus._core.fields import Span, duration, seconds, whole
from duebus._core.interceptors import checked
from duebus._core.schedule_model import CatchUp, Overlap
from duebus._core.settings import DEFAULT_TARGET
from duebus.aio import Client
from duebus.errors import InvalidArgument
from duebus.worker.interceptors import HandlerInterceptor
from duebus.worker.registry import MAX_CONCURRENCY, Handler, Registration, Registry
from duebus.worker.schedules import Declaration, module_of
from duebus.worker.serving import Serving
from duebus.worker.settings import MAX_IN_FLIGHT, MAX_IN_FLIGHT_BYTES, MAX_LEASE, MIN_LEASE, Settings
from duebus.worker.signals import stop_on_signals

__all__ = ["Worker"]

_H = TypeVar("_H", bound=Handler)


class Worker:
    """Runs handlers on the events of topics until it is stopped.

        worker = Worker("127.0.0.1:50051")

        @worker.on("order.created", group="billing")
        async def bill(delivery: Delivery) -> None: ...

        worker.run()

    A coroutine function runs in the event loop, any other function on a thread. A handler whose first parameter is
    annotated with a dataclass, a TypedDict, a msgspec Struct or a pydantic model gets the payload as one, and the
    delivery as its second argument, if it takes two. A payload that does not fit becomes a dead letter with the reason,
    and the handler is not called. The handler decides about the event:

    - the handler returns: acked;
    - it raises: nacked with the exception's type and message, retried after the topic's backoff;
    - it raises `RetryAfter(delay)`: retried after that delay;
    - it raises `DeadLetter(reason)`: to the dead letters at once;
    - it raises `Release()`: ready again at once, for any worker of the group, and the attempt is not counted;
    - it fails and the event has been retried `max_retries` times: to the dead letters. The event's own `max_retries`,
      or else the retry policy of its topic and group, applies as well: the smaller number wins;
    - it runs for longer than `max_execution`: cancelled, and nacked as by an exception. A function on a thread can't
      be cancelled: its result is discarded, and it keeps its thread and its place among `concurrency` until it
      returns. While all places are taken in this way, the worker unsubscribes, so that others get the events;
    - its lease is lost: cancelled, and nothing is settled.

    Several handlers on one topic and group share one subscription. Each event goes to all of them at once and is acked
    when all have succeeded. If some fail, it is nacked once, when all have ended, with their messages combined. It is
    released if all that failed ask for that, dead if one does, and otherwise retried after the longest delay that one
    asked for. If one runs for too long, all are cancelled. Handlers that have succeeded are not run again on the retry,
    as far as this process remembers: the last 10,000 such events of the subscription. Another process runs them again.
    Delivery is at least once in any case, so handlers should be idempotent.

    With a `batch`, a handler takes a list of deliveries, or one of payloads and maybe one of their deliveries. It is
    called when the batch is full or its first event has waited for `wait`. If it returns, all its events are acked. If
    it returns a list, each item is the outcome of one event, in order: an exception settles the event as if it had been
    handled alone and had raised that. If the handler raises, it is called again with one event at a time, so that one
    bad event does not fail the others; only `Release` and `RateLimited` apply to all. Each call may last
    `max_execution`. It goes on while at least one of its leases is held.

    A handler runs in one task from start to end, and the context variables that it sets end with it. Handlers that do
    not suspend may run in the same task, one after the other. So a handler must not keep its task, from
    `asyncio.current_task`, and cancel it after it has returned, for example by a timer: that could hit the handler of
    another event. `asyncio.timeout`, which ends with its block, is safe.

    Leases are extended while handlers run or wait to start. Acks and nacks are sent in batches. A stream that breaks is
    opened again, forever, with the leases still held. An error that no retry can cure (a bad argument, no permission,
    an engine that the server does not run) stops the worker and is raised by `run` and `serve`.

    An exception that is not an `Exception`, such as a panic of an extension, is a failed attempt too. KeyboardInterrupt
    also drains the worker.

    Handlers may be added and removed at any time, from any thread. `every` declares a schedule beside its handler.

    Args:
        target: The server, as for `aio.Client`. Not used with a `client`.
        group: The group of handlers that do not name one; empty means "default", or with `ephemeral` a name that
            the server makes.
        ephemeral: The default of `ephemeral` in `add`.
        engine: The engine that holds the events; None: the server's default engine.
        consumer: The worker's name in the admin views; empty: the host's name and the process id.
        concurrency: How many events each subscription handles at once. If its handlers set their own numbers, the
            smallest applies.
        prefetch: How many more events wait in the worker, so that the next one is there when a handler ends; None: as
            many as `concurrency`. With slow handlers and several workers, 0 spreads the events best.
        max_in_flight_bytes: How many bytes of events one subscription may hold at once, up to 1 GiB; 0: 16 MiB.
        lease: How soon another worker gets an event if this one dies without its connection breaking, 100 ms to 12 h:
            a timedelta or seconds.
        max_execution: How long a handler may run: a timedelta or seconds.
        drain_timeout: How long a stop waits for running handlers: a timedelta or seconds.
        client: A client to use instead of a new one; it is not closed.
        interceptors: Functions around each call of a handler, the first outermost, for example to measure it:
            `async def interceptor(handler, deliveries, call_next)`. Each gets the handler's `Registration`, and one
            delivery, or those of a batch. `await call_next()` calls the handler and returns what it returned. How the
            interceptor ends decides about the events, as it does for a handler; what it returns is ignored. It runs in
            the event loop, around a function on a thread too, and `max_execution` includes it.

    Raises:
        TypeError: An argument has the wrong type.
        InvalidArgument: A number or a duration is out of range.
    """

    def __init__(
        self,
        target: str = DEFAULT_TARGET,
        *,
        group: str = "",
        ephemeral: bool = False,
        engine: Engine | str | None = None,
        consumer: str = "",
        concurrency: int = 64,
        prefetch: int | None = None,
        max_in_flight_bytes: int = 0,
        lease: Span = 30.0,
        max_execution: Span = 50.0,
        drain_timeout: Span = 25.0,
        client: Client | None = None,
        interceptors: Iterable[HandlerInterceptor] = (),
    ) -> None:
        self._target = target
        self._client = client
        self._settings = Settings(
            group=group,
            ephemeral=ephemeral,
            engine=engine,
            consumer=consumer or f"{socket.gethostname()}-{os.getpid()}",
            concurrency=whole("concurrency", concurrency, 1, MAX_CONCURRENCY),
            prefetch=None if prefetch is None else whole("prefetch", prefetch, 0, MAX_IN_FLIGHT),
            max_in_flight_bytes=whole("max_in_flight_bytes", max_in_flight_bytes, 0, MAX_IN_FLIGHT_BYTES),
            lease=_lease(lease),
            max_execution=seconds("max_execution", max_execution),
            drain_timeout=seconds("drain_timeout", drain_timeout),
            interceptors=checked(interceptors),
        )
        self._registry = Registry(self._handlers_changed)
        self._declarations: list[Declaration] = []
        self._serving: Serving | None = None
        self._begins: list[asyncio.Future[None]] = []

    def on(
        self,
        topic: str,
        *,
        group: str | None = None,
        ephemeral: bool | None = None,
        concurrency: int | None = None,
        max_retries: int | None = None,
        batch: int | None = None,
        wait: Span = 0.2,
        once: Any = None,
    ) -> Callable[[_H], _H]:
        """Registers the decorated function and returns it unchanged. Arguments and errors are those of `add`."""
        if callable(topic):
            raise TypeError('topic: expected a str, got a function; write @worker.on("order.created")')

        def register(handler: _H) -> _H:
            self.add(
                topic,
                handler,
                group=group,
                ephemeral=ephemeral,
                concurrency=concurrency,
                max_retries=max_retries,
                batch=batch,
                wait=wait,
                once=once,
            )
            return handler

        return register

    def every(
        self,
        rule: str | Span,
        *,
        name: str | None = None,
        topic: str | None = None,
        zone: str = "",
        data: Any = b"",
        attributes: Mapping[str, str] | None = None,
        key: str = "",
        priority: int = 0,
        start: datetime | None = None,
        end: datetime | None = None,
        max_runs: int = 0,
        jitter: Span | None = None,
        overlap: Overlap | str = Overlap.ALLOW,
        catch_up: CatchUp | str = CatchUp.LAST,
        catch_up_window: Span | None = None,
        note: str | None = None,
        group: str | None = None,
        concurrency: int | None = None,
        max_retries: int | None = None,
    ) -> Callable[[_H], _H]:
        """Declares a schedule, and registers the decorated function for its topic. Returns the function unchanged.

            @worker.every("0 9 * * MON-FRI", zone="Europe/Berlin")
            async def send_report(delivery: Delivery) -> None: ...

        The worker puts its schedules when it serves: any number of workers may do so, and one that is stored already
        is not changed. What is no longer declared is logged, and neither deleted nor paused.

        Args:
            rule: A cron text, or a period: a timedelta or seconds.
            name: The schedule's name; None: that of the function after its module's, such as `reports.send_report`, so
                that functions of two modules have schedules of their own.
            topic: Where its events go; None: the same as its name.
            zone: As in `ScheduleClient.put`, like all up to `catch_up_window`.
            data: The payload of its events.
            attributes: See there.
            key: See there.
            priority: See there.
            start: See there.
            end: See there.
            max_runs: See there.
            jitter: See there.
            overlap: See there.
            catch_up: See there.
            catch_up_window: See there.
            note: See there. None: the module in which it is declared, by which one that is no longer declared is found.
            group: As in `add`.
            concurrency: As in `add`.
            max_retries: As in `add`.

        Raises:
            InvalidArgument: The worker has a schedule of this name; otherwise as `add`.
        """
        if callable(rule):
            raise TypeError('rule: expected a cron text or a period; write @worker.every("0 9 * * *")')
        when = {"cron": rule} if isinstance(rule, str) else {"every": rule}
        options = {
            "zone": zone,
            "attributes": attributes,
            "key": key,
            "priority": priority,
            "start": start,
            "end": end,
            "max_runs": max_runs,
            "jitter": jitter,
            "overlap": overlap,
            "catch_up": catch_up,
            "catch_up_window": catch_up_window,
        }

        def register(handler: _H) -> _H:
            module = module_of(handler)
            chosen = name or f"{module}.{getattr(handler, '__name__', type(handler).__name__)}".lstrip("_")
            if any(each.name == chosen for each in self._declarations):
                raise InvalidArgument.of_field("name", f"the worker has a schedule {chosen!r} already")
            said = f"declared in {module}" if note is None else note
            declaration = Declaration(chosen, topic or chosen, data, said, when | options)
            self.add(declaration.topic, handler, group=group, concurrency=concurrency, max_retries=max_retries)
            self._declarations.append(declaration)
            return handler

        return register

    def add(
        self,
        topic: str,
        handler: Handler,
        *,
        group: str | None = None,
        ephemeral: bool | None = None,
        concurrency: int | None = None,
        max_retries: int | None = None,
        batch: int | None = None,
        wait: Span = 0.2,
        once: Any = None,
    ) -> Registration:
        """Registers a handler for a topic; a running worker subscribes at once. Thread-safe.

        Args:
            topic: `[A-Za-z0-9][A-Za-z0-9._-]{0,254}`.
            handler: A coroutine function or a function that takes a `Delivery` or a payload; its result is ignored.
                With a batch, it takes a list, and may return a list of outcomes.
            group: None: the worker's, unless one of the two lasts and the other is ephemeral.
            ephemeral: Whether the group is deleted when its last subscriber has left, and gets only what is dispatched
                while it exists. If it has no name, it belongs to this process alone, so every instance of a program
                gets every event. None: the worker's setting.
            concurrency: How many events the subscription handles at once; None: the worker's setting, or the batch if
                that is larger.
            max_retries: How many times a failing event is retried. The event's own `max_retries`, or else the retry
                policy in force, also applies: the smaller number wins. None: only the latter.
            batch: The most events that one call gets, 1 to `concurrency`; None: each event has a call of its own.
            wait: How long the first event of a batch waits for others: a timedelta or seconds.
            once: A session factory of SQLAlchemy, such as a `sessionmaker`, or for a coroutine function an
                `async_sessionmaker`. The handler gets a session as its argument `session`. What it writes is committed
                with a note that the event was handled, so that it takes effect once; see `duebus.integrations`. Of a
                topic and group, one handler can have it, and none with a batch.

        Returns:
            The registration, which can remove the handler.

        Raises:
            TypeError: An argument has the wrong type, the handler takes neither a delivery nor a payload, or the type
                of its payload has a field that JSON can't express.
            InvalidArgument: An argument is malformed or out of range, or the handler is already registered for this
                topic and group.
        """
        ephemeral = self._settings.ephemeral if ephemeral is None else ephemeral
        if group is None:
            group = self._settings.group if ephemeral == self._settings.ephemeral else ""
        return self._registry.add(
            topic,
            group,
            handler,
            concurrency=concurrency,
            max_retries=max_retries,
            ephemeral=ephemeral,
            batch=batch,
            wait=wait,
            once=once,
        )

    def remove(self, topic: str, handler: Handler) -> None:
        """Removes a handler from a topic, in every group; see `Registration.remove`. Thread-safe.

        Raises:
            LookupError: It is not registered there.
        """
        found = self._registry.find(topic, handler)
        if not found:
            raise LookupError(f"the handler is not registered for {topic}")
        for registration in found:
            registration.remove()

    def run(self) -> None:
        """Serves in a new event loop until SIGTERM or SIGINT, or `request_stop` from another thread.

        The first signal drains: running handlers are finished and their events settled, for at most `drain_timeout`;
        deliveries that were not started are released without counting an attempt. A second one cancels the
        handlers, and releases their events too. In a thread other than the main one, signals are not handled.

        Raises:
            DueBusError: An error that no retry can cure.
            RuntimeError: The worker has no handlers, is already serving, or an event loop runs in this thread; use
                `serve` there.
        """
        asyncio.run(self._run())

    async def serve(
        self, client: Client | None = None, *, on_failure: Callable[[BaseException], None] | None = None
    ) -> None:
        """Serves until `stop` or `request_stop`. If it is cancelled, handlers are cancelled and events released.

        Args:
            client: A client to use for this run; it is not closed. None: the worker's.
            on_failure: Called in the loop with each exception that a handler raises, except `RetryAfter`, `DeadLetter`
                and `Release`; for tests and error reports.

        Raises:
            DueBusError: An error that no retry can cure.
            RuntimeError: The worker has no handlers, or is already serving.
        """
        if self._serving is not None:
            raise RuntimeError("the worker is already serving")
        if not self._registry.sources():
            self._announce()
            raise RuntimeError("the worker has no handlers: register one with on() or add() before it serves")
        given = client or self._client
        async with Client(self._target) if given is None else nullcontext(given) as used:
            self._serving = Serving(
                self._registry, self._settings, used, on_failure or _ignore, tuple(self._declarations)
            )
            self._announce()
            try:
                await self._serving.run()
            finally:
                self._serving = None

    async def ready(self) -> None:
        """Waits until the worker has subscribed for every handler, and its schedules are stored: events dispatched from
        now on are handled.

        Raises:
            DueBusError: The worker stops because of an error.
            RuntimeError: The worker stops for another reason.
        """
        if self._serving is None:
            begin = asyncio.get_running_loop().create_future()
            self._begins.append(begin)
            await begin
        if self._serving is None:
            raise RuntimeError("the worker has stopped")
        await self._serving.ready()

    async def stop(self) -> None:
        """Drains as `run` does on a signal, and returns just before `serve` does. Not for handlers, which it waits for.

        Does nothing if the worker is not serving.
        """
        if (serving := self._serving) is not None:
            serving.request_stop(now=False)
            await serving.ended.wait()

    def request_stop(self, *, now: bool = False) -> None:
        """Begins to drain, or with `now` cancels the running handlers, and returns at once. Thread-safe.

        Does nothing if the worker is not serving.
        """
        if (serving := self._serving) is not None:
            serving.request_stop(now=now)

    async def _run(self) -> None:
        with stop_on_signals(self.request_stop, partial(self.request_stop, now=True)):
            await self.serve()

    def _announce(self) -> None:
        for begin in self._begins:
            if not begin.done():
                begin.set_result(None)
        self._begins.clear()

    def _handlers_changed(self) -> None:
        if (serving := self._serving) is not None:
            serving.handlers_changed()


def _ignore(_: BaseException) -> None:
    """Ignores failures, which are logged anyway."""


def _lease(lease: Span) -> timedelta:
    length = duration("lease", lease).ToTimedelta()
    if not MIN_LEASE <= length <= MAX_LEASE:
        raise InvalidArgument.of_field("lease", f"must be 100 ms to 12 h, not {lease}")
    return length
