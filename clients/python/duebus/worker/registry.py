"""Which topic and group each handler is registered for."""

import functools
import inspect
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from duebus._core.delivery import Delivery
from duebus._core.fields import Span, seconds, uint32, whole
from duebus.errors import InvalidArgument
from duebus.worker.once import once_by
from duebus.worker.typed import calling, calling_with_batches

__all__ = ["Batching", "Handler", "Registration", "Registry", "Source"]

MAX_CONCURRENCY = 100_000
DEFAULT_GROUP = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")

Handler = Callable[..., object]
"""A function that `Worker.on` decorates: a coroutine function, or a function that is called on a thread.

It takes the delivery. If its first parameter is annotated with a dataclass, a TypedDict, a msgspec Struct or a pydantic
model, it takes the payload as one of those, and the delivery if it has a second parameter. With `batch` it takes lists,
and with `once` a session as well.
"""


class Source(NamedTuple):
    """The topic and group of a subscription. An ephemeral group that the server names is empty."""

    topic: str
    group: str
    ephemeral: bool = False

    def __str__(self) -> str:
        return f"{self.topic}/{self.group or 'ephemeral'}"


class Batching(NamedTuple):
    """How a handler gets several deliveries at once.

    Attributes:
        size: The most in one call.
        wait: How many seconds the first waits for others.
        read: What the handler gets of a delivery. Raises `DeadLetter` if its payload does not fit.
    """

    size: int
    wait: float
    read: Callable[[Delivery], Any]


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A handler that is registered for a topic and group.

    Attributes:
        source: The topic and the group.
        handler: The function, unchanged.
        concurrency: How many deliveries of the subscription are handled at once; None: the worker's setting.
        max_retries: How many times a failing event is retried; None: by the event or the retry policy.
        name: The function's name, for logs and for the event's last error.
        blocking: Whether it is called on a thread, because it is not a coroutine function.
        call: Calls it with a delivery, whatever it takes; with a batch: with a list of what `batching.read` returned,
            and a list of the deliveries.
        once: Whether it takes effect once.
        batching: How it gets several at once; None: it gets them one by one.
    """

    source: Source
    handler: Handler
    concurrency: int | None
    max_retries: int | None
    name: str
    blocking: bool
    call: Callable[..., object]
    batching: Batching | None
    once: bool
    _registry: "Registry" = field(repr=False)

    def remove(self) -> None:
        """Removes the handler; it finishes the events that it is handling. A second call does nothing. Thread-safe.

        If it was the last one of its topic and group, the subscription is closed, and deliveries that were not started
        are released.
        """
        self._registry.remove(self)


class Registry:
    """The handlers of a worker by source. Thread-safe; `changed` is called after every change."""

    def __init__(self, changed: Callable[[], None]):
        self._changed = changed
        self._lock = threading.Lock()
        self._registrations: dict[Source, tuple[Registration, ...]] = {}

    def add(
        self,
        topic: str,
        group: str,
        handler: Handler,
        *,
        concurrency: int | None,
        max_retries: int | None,
        ephemeral: bool = False,
        batch: int | None = None,
        wait: Span = 0.2,
        once: Any = None,
    ) -> Registration:
        """Registers a handler for a topic and group; the group is "default" if it is empty and lasts.

        Raises:
            TypeError: An argument has the wrong type, or the handler takes neither a delivery nor a payload.
            InvalidArgument: A name or a number is out of range, or the handler is already registered.
        """
        group = group or ("" if ephemeral else DEFAULT_GROUP)
        source = Source(_checked_name("topic", topic), _checked_name("group", group) if group else "", ephemeral)
        _check(handler, concurrency, max_retries)
        name, blocking = _name_of(handler), not _is_coroutine_function(handler)
        batching = None
        call: Callable[..., object]
        if batch is not None:
            read, call = calling_with_batches(handler, name)
            batching = _batching(batch, wait, concurrency, read)
            if once is not None:
                raise InvalidArgument.of_field("once", "a handler with a batch can't have it")
        elif once is not None:
            guard = once_by(once)
            call = guard.guard(calling(handler, name, guard.keywords), is_async=not blocking)
        else:
            call = calling(handler, name)
        registration = Registration(
            source, handler, concurrency, max_retries, name, blocking, call, batching, once is not None, self
        )
        with self._lock:
            standing = self.handlers(source)
            if any(other.handler == handler for other in standing):
                raise InvalidArgument.of_field("handler", f"{registration.name} is already registered for {source}")
            if once is not None and any(other.once for other in standing):
                raise InvalidArgument.of_field(
                    "once", f"{source} has a handler with it: use another group for this one"
                )
            self._registrations[source] = (*standing, registration)
        self._changed()
        return registration

    def remove(self, registration: Registration) -> None:
        """Removes a handler; does nothing if it is not registered."""
        source = registration.source
        with self._lock:
            left = tuple(other for other in self.handlers(source) if other is not registration)
            self._registrations[source] = left
            if not left:
                del self._registrations[source]
        self._changed()

    def handlers(self, source: Source) -> tuple[Registration, ...]:
        """The registrations of one source, in the order in which they were added."""
        return self._registrations.get(source, ())

    def sources(self) -> tuple[Source, ...]:
        """The sources that have a handler."""
        with self._lock:
            return tuple(self._registrations)

    def all(self) -> list[Registration]:
        """The registrations of every source."""
        with self._lock:
            return [one for registrations in self._registrations.values() for one in registrations]

    def find(self, topic: str, handler: Handler) -> list[Registration]:
        """The registrations of a handler on a topic, in any group."""
        with self._lock:
            of_topic = (found for source, found in self._registrations.items() if source.topic == topic)
            return [one for registrations in of_topic for one in registrations if one.handler == handler]


def _checked_name(field: str, name: str) -> str:
    if not isinstance(name, str):
        raise TypeError(f"{field}: expected a str, got {type(name).__name__}")
    if not _NAME.fullmatch(name):
        raise InvalidArgument.of_field(field, f"must match {_NAME.pattern}, not {name!r}")
    return name


def _check(handler: Handler, concurrency: int | None, max_retries: int | None) -> None:
    if not callable(handler):
        raise TypeError(f"handler: {handler!r} can't be called")
    if _yields(handler):
        raise TypeError(f"handler: {_name_of(handler)} is a generator, so none of it would run: write it without yield")
    if concurrency is not None:
        whole("concurrency", concurrency, 1, MAX_CONCURRENCY)
    if max_retries is not None:
        uint32("max_retries", max_retries)


def _batching(size: int, wait: Span, concurrency: int | None, read: Callable[[Delivery], Any]) -> Batching:
    whole("batch", size, 1, MAX_CONCURRENCY)
    if concurrency is not None and concurrency < size:
        raise InvalidArgument.of_field("concurrency", f"must be at least the batch, {size}, not {concurrency}")
    return Batching(size, seconds("wait", wait), read)


def _yields(handler: Handler) -> bool:
    called = (handler, getattr(type(handler), "__call__", None))  # noqa: B004 - as in _is_coroutine_function
    return any(inspect.isgeneratorfunction(each) or inspect.isasyncgenfunction(each) for each in called)


def _name_of(handler: Any) -> str:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__


def _is_coroutine_function(handler: Handler) -> bool:
    called = getattr(type(handler), "__call__", None)  # noqa: B004 - an object may have an async __call__
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)
