"""Interceptors: functions that a user puts around each dispatch of a client, or each call of a handler."""

from collections.abc import Callable, Iterable
from typing import TypeVar

from duebus._core.model import Dispatched

_F = TypeVar("_F", bound=Callable[..., object])


def checked(interceptors: Iterable[_F]) -> tuple[_F, ...]:
    """The interceptors as a tuple.

    Raises:
        TypeError: it is a single function, or one of them can't be called.
    """
    if callable(interceptors):
        raise TypeError("interceptors: expected a list of functions, got one function")
    functions = tuple(interceptors)
    for index, each in enumerate(functions):
        if not callable(each):
            raise TypeError(f"interceptors[{index}]: {each!r} can't be called")
    return functions


def through(interceptors: Iterable[Callable[..., object]], send: _F) -> _F:
    """What passes a dispatch through interceptors, the first outermost, to what sends it."""
    for interceptor in reversed(tuple(interceptors)):
        send = _around(interceptor, send)
    return send


def _around(interceptor: Callable[..., object], send: _F) -> _F:
    return lambda topic, events: interceptor(topic, events, send)  # type: ignore[return-value]


def results(returned: object, count: int) -> list[Dispatched]:
    """What interceptors have returned for this many events.

    Raises:
        TypeError: it is not a list of as many results.
    """
    if not isinstance(returned, list):
        raise TypeError(f"an interceptor must return a list of results, not {type(returned).__name__}")
    if len(returned) != count:
        raise TypeError(f"an interceptor returned {len(returned)} results for {count} events")
    return returned
