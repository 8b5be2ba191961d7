"""Which handlers stand on which topic and group."""

import functools
import inspect
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from duebus._core.delivery import Delivery
from duebus.errors import InvalidArgument

__all__ = ["Handler", "Registration", "Registry", "Source"]

MAX_CONCURRENCY = 100_000
DEFAULT_GROUP = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,254}")

Handler = Callable[[Delivery], Awaitable[object] | object]
"""What `Worker.on` decorates: a coroutine function, or a function that is called on a thread."""


class Source(NamedTuple):
    """Where one subscription takes its deliveries from."""

    topic: str
    group: str

    def __str__(self) -> str:
        return f"{self.topic}/{self.group}"


@dataclass(frozen=True, slots=True, eq=False)
class Registration:
    """A handler that stands on a topic and group.

    Attributes:
        source: The topic and the group.
        handler: The function, unchanged.
        concurrency: Deliveries of the subscription handled at once; None: the worker's.
        retries: After how many retries a failing event is dead; None: only the topic's retry policy says.
        name: The function's name, for logs and for the event's last error.
        blocking: It is not a coroutine function and is called on a thread.
    """

    source: Source
    handler: Handler
    concurrency: int | None
    retries: int | None
    name: str
    blocking: bool
    _registry: "Registry" = field(repr=False)

    def remove(self) -> None:
        """Takes the handler off; events that it is handling are finished. Again: nothing happens. Thread-safe.

        When it was the last one of its topic and group, the subscription closes and its unstarted deliveries are
        released without counting an attempt.
        """
        self._registry.remove(self)


class Registry:
    """The handlers of a worker by source. Thread-safe; `changed` is called after every change."""

    def __init__(self, changed: Callable[[], None]):
        self._changed = changed
        self._lock = threading.Lock()
        self._registrations: dict[Source, tuple[Registration, ...]] = {}

    def add(
        self, topic: str, group: str, handler: Handler, *, concurrency: int | None, retries: int | None
    ) -> Registration:
        """Puts a handler on a topic and group.

        Raises:
            InvalidArgument: A name, a number or the handler is not one, or the handler stands there already.
        """
        source = Source(_checked_name("topic", topic), _checked_name("group", group or DEFAULT_GROUP))
        _check(handler, concurrency, retries)
        name, blocking = _name_of(handler), not _is_coroutine_function(handler)
        registration = Registration(source, handler, concurrency, retries, name, blocking, self)
        with self._lock:
            standing = self.handlers(source)
            if any(other.handler == handler for other in standing):
                raise InvalidArgument.of_field("handler", f"{registration.name} stands on {source} already")
            self._registrations[source] = (*standing, registration)
        self._changed()
        return registration

    def remove(self, registration: Registration) -> None:
        """Takes a handler off; nothing happens when it does not stand any more."""
        source = registration.source
        with self._lock:
            left = tuple(other for other in self.handlers(source) if other is not registration)
            self._registrations[source] = left
            if not left:
                del self._registrations[source]
        self._changed()

    def handlers(self, source: Source) -> tuple[Registration, ...]:
        """Those of one source, in the order they were added."""
        return self._registrations.get(source, ())

    def sources(self) -> tuple[Source, ...]:
        """Those that have a handler."""
        with self._lock:
            return tuple(self._registrations)

    def find(self, topic: str, handler: Handler) -> list[Registration]:
        """The registrations of a handler on a topic, in any group."""
        with self._lock:
            of_topic = (found for source, found in self._registrations.items() if source.topic == topic)
            return [one for registrations in of_topic for one in registrations if one.handler == handler]


def _checked_name(field: str, name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidArgument.of_field(field, f"must match {_NAME.pattern}, not {name!r}")
    return name


def _check(handler: Handler, concurrency: int | None, retries: int | None) -> None:
    if not callable(handler):
        raise InvalidArgument.of_field("handler", f"{handler!r} can't be called")
    if concurrency is not None and not 1 <= concurrency <= MAX_CONCURRENCY:
        raise InvalidArgument.of_field("concurrency", f"must be 1 to {MAX_CONCURRENCY}, not {concurrency}")
    if retries is not None and retries < 0:
        raise InvalidArgument.of_field("retries", f"must be at least 0, not {retries}")


def _name_of(handler: Any) -> str:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__


def _is_coroutine_function(handler: Handler) -> bool:
    called = getattr(type(handler), "__call__", None)  # noqa: B004 - an object may have an async __call__
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(called)
