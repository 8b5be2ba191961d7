"""Handlers that take the decoded payload instead of the delivery, or with it."""

import inspect
import sys
import types
from collections.abc import Callable, Mapping
from typing import Any, ForwardRef, get_type_hints

from duebus._core.delivery import Delivery
from duebus._core.json_types import decoder, is_model
from duebus.worker.decisions import DeadLetter

__all__ = ["calling"]

_Call = Callable[[Delivery], object]

_HINT = ", or the payload, annotated with a dataclass, TypedDict, msgspec Struct or pydantic model, and the delivery"


def calling(handler: Callable[..., object], name: str) -> _Call:
    """Returns what calls a handler with a delivery: the handler itself, or what decodes the payload for it first.

    Args:
        handler: A function.
        name: Its name, for errors.

    Raises:
        TypeError: It takes neither a delivery nor a payload, or the type of the payload can't be read from JSON.
    """
    try:
        signature = _signature(handler)
    except ValueError:  # some functions written in C have no signature
        return handler
    kind = _annotation(handler, name, next(iter(signature.parameters.values()), None))
    takes_one, takes_two = _accepts(signature, 1), _accepts(signature, 2)
    if not is_model(kind):
        if takes_one:
            return handler
        raise TypeError(f"handler: {name} must accept the delivery as its only argument{_HINT if takes_two else ''}")
    if not takes_one and not takes_two:
        raise TypeError(f"handler: {name} must accept the payload, or the payload and the delivery")
    return _typed(handler, kind, name, with_delivery=not takes_one)


def _typed(handler: Callable[..., object], kind: Any, name: str, *, with_delivery: bool) -> _Call:
    try:
        decode = decoder(kind)
    except TypeError as error:
        raise TypeError(f"handler: {name}: {error}") from error
    type_name = getattr(kind, "__name__", str(kind))

    def payload_of(delivery: Delivery) -> Any:
        try:
            return decode(delivery.data)
        except Exception as error:
            raise DeadLetter(f"the payload does not fit {type_name}: {error}") from error

    if with_delivery:
        return lambda delivery: handler(payload_of(delivery), delivery)
    return lambda delivery: handler(payload_of(delivery))


def _accepts(signature: inspect.Signature, count: int) -> bool:
    try:
        signature.bind(*range(count))
    except TypeError:
        return False
    return True


def _signature(handler: Callable[..., object]) -> inspect.Signature:
    if sys.version_info >= (3, 14):  # where names that only the type checker knows would raise a NameError
        from annotationlib import Format  # noqa: PLC0415 - only there

        return inspect.signature(handler, annotation_format=Format.FORWARDREF)
    return inspect.signature(handler)


def _annotation(handler: Callable[..., object], name: str, parameter: inspect.Parameter | None) -> Any:
    """The annotation of a parameter; None if it has none, or names a Delivery that only type checkers import.

    Raises:
        TypeError: It is written as text that can't be evaluated.
    """
    if parameter is None or parameter.kind is parameter.VAR_POSITIONAL or parameter.annotation is parameter.empty:
        return None
    text = parameter.annotation
    if isinstance(text, ForwardRef):
        text = text.__forward_arg__
    if not isinstance(text, str):
        return text
    annotated = types.SimpleNamespace(__annotations__={"payload": text})
    try:
        return get_type_hints(annotated, globalns=dict(_globals_of(handler)))["payload"]
    except Exception as error:
        if text.rpartition(".")[2] == Delivery.__name__:
            return None
        problem = f"the annotation {text!r} can't be evaluated: {error}"
        raise TypeError(f"handler: {name}: {problem}; a type that is read from payloads must be global") from error


def _globals_of(handler: Any) -> Mapping[str, Any]:
    while hasattr(handler, "func"):  # functools.partial
        handler = handler.func
    function = inspect.unwrap(handler)
    called = getattr(function, "__func__", function)
    if not hasattr(called, "__globals__"):
        called = getattr(type(function), "__call__", None)  # noqa: B004 - an object with __call__
    return getattr(called, "__globals__", {})
