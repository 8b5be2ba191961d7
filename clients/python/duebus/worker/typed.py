"""Handlers that take the decoded payload instead of the delivery, or with it."""

import inspect
import re
import sys
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, ForwardRef, get_args, get_origin, get_type_hints

from duebus._core.delivery import Delivery
from duebus._core.json_types import decoder, is_model
from duebus.worker.decisions import DeadLetter

__all__ = ["calling", "calling_with_batches"]

_Call = Callable[[Delivery], object]
_Read = Callable[[Delivery], Any]
_BatchCall = Callable[[list[Any], list[Delivery]], object]

_HINT_LIST = ", or a list of payloads, annotated with a type as a single payload is, and maybe one of their deliveries"
_HINT = ", or the payload, annotated with a dataclass, TypedDict, msgspec Struct or pydantic model, and the delivery"


def calling(handler: Callable[..., object], name: str, keywords: Sequence[str] = ()) -> Callable[..., object]:
    """Returns what calls a handler with a delivery: the handler itself, or what decodes the payload for it first.

    Args:
        handler: A function.
        name: Its name, for errors.
        keywords: The keyword arguments that it must accept, and which are passed on to it.

    Raises:
        TypeError: It takes neither a delivery nor a payload, or the type of the payload can't be read from JSON.
    """
    try:
        signature = _signature(handler)
    except ValueError:  # some functions written in C have no signature
        return handler
    kind = _annotation(handler, name, next(iter(signature.parameters.values()), None))
    takes_one, takes_two = _accepts(signature, 1, keywords), _accepts(signature, 2, keywords)
    if keywords and not takes_one and not takes_two:
        raise TypeError(f"handler: {name} must accept the delivery and the keyword argument {', '.join(keywords)}")
    if not is_model(kind):
        if takes_one:
            return handler
        raise TypeError(f"handler: {name} must accept the delivery as its only argument{_HINT if takes_two else ''}")
    if not takes_one and not takes_two:
        raise TypeError(f"handler: {name} must accept the payload, or the payload and the delivery")
    payload_of = _reading(kind, name)
    if takes_one:
        return lambda delivery, **more: handler(payload_of(delivery), **more)
    return lambda delivery, **more: handler(payload_of(delivery), delivery, **more)


def calling_with_batches(handler: Callable[..., object], name: str) -> tuple[_Read, _BatchCall]:
    """Returns what reads a delivery for a handler that takes lists, and what calls it with what was read of many.

    Args:
        handler: A function that takes a list of deliveries, or a list of payloads and maybe one of their deliveries.
        name: Its name, for errors.

    Raises:
        TypeError: As `calling`, or the handler takes a single payload or delivery.
    """
    try:
        signature = _signature(handler)
    except ValueError:
        return _as_it_is, lambda _, deliveries: handler(deliveries)
    annotation = _annotation(handler, name, next(iter(signature.parameters.values()), None))
    kind = _member_of(annotation)
    takes_one, takes_two = _accepts(signature, 1), _accepts(signature, 2)
    if is_model(annotation) or annotation is Delivery or not (takes_one or (is_model(kind) and takes_two)):
        raise TypeError(
            f"handler: {name} must accept a list of deliveries, because it is registered with a batch{_HINT_LIST}"
        )
    if not is_model(kind):
        return _as_it_is, lambda _, deliveries: handler(deliveries)
    if takes_one:
        return _reading(kind, name), lambda payloads, _: handler(payloads)
    return _reading(kind, name), handler


def _as_it_is(delivery: Delivery) -> Delivery:
    return delivery


def _member_of(annotation: Any) -> Any:
    """The type of the members of an annotated list; None if it is no list, or does not say."""
    arguments = get_args(annotation)
    return arguments[0] if get_origin(annotation) in (list, Sequence, Iterable) and arguments else None


def _reading(kind: Any, name: str) -> _Read:
    """Returns what reads the payload of a delivery as a type."""
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

    return payload_of


def _accepts(signature: inspect.Signature, count: int, keywords: Sequence[str] = ()) -> bool:
    try:
        signature.bind(*range(count), **dict.fromkeys(keywords))
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
        if re.split(r"\W", text.rstrip("]"))[-1] == Delivery.__name__:  # or a list of them
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
