"""Reads JSON payloads as values of an annotated type: the reverse of what `payload.encode_payload` writes.

pydantic and msgspec read their own types. Dataclasses and TypedDicts, which need neither, are read here. Fields that a
type does not have are ignored.
"""

import dataclasses
import json
import types
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import (
    Annotated,
    Any,
    Literal,
    NewType,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
)
from uuid import UUID

__all__ = ["decoder", "is_model"]

_Read = Callable[[Any], Any]
"""From a JSON value to a value of one type. Raises ValueError if it does not fit."""


class _MisfitError(ValueError):
    """A value does not fit.

    Args:
        problem: What is wrong with it.
        path: Where it is in the payload; empty for all of it.
    """

    def __init__(self, problem: str, path: str = "") -> None:
        super().__init__(f"{path.lstrip('.')}: {problem}" if path else problem)
        self.problem = problem
        self.path = path


def is_model(kind: object) -> bool:
    """Whether it is a dataclass, a TypedDict, a msgspec Struct or a pydantic model, or a generic one with arguments."""
    kind = get_origin(kind) or kind
    if not isinstance(kind, type):
        return False
    return dataclasses.is_dataclass(kind) or _is_typed_dict(kind) or _is_struct(kind) or _is_pydantic(kind)


def decoder(kind: Any) -> Callable[[bytes], Any]:
    """Returns what decodes a payload into a value of the type. It raises an exception if the payload does not fit.

    Raises:
        TypeError: A field has a type that can't be read from JSON.
    """
    if _is_struct(get_origin(kind) or kind):
        from msgspec.json import Decoder  # noqa: PLC0415 - the type comes from there, so it is installed

        return Decoder(kind).decode
    if _is_pydantic(kind):
        from pydantic import TypeAdapter  # noqa: PLC0415 - as above

        return TypeAdapter(kind).validate_json
    read = _Readers().of(kind)
    return lambda data: read(json.loads(data))


def _is_typed_dict(kind: Any) -> bool:
    """Also one of typing_extensions, which `typing.is_typeddict` does not know."""
    return hasattr(kind, "__required_keys__")


def _is_struct(kind: Any) -> bool:
    return hasattr(kind, "__struct_fields__")


def _is_pydantic(kind: Any) -> bool:
    return hasattr(kind, "__pydantic_validator__")


class _Readers:
    """The readers of a type and of the types in it, which may refer to each other."""

    def __init__(self) -> None:
        self._records: dict[Any, _Read] = {}

    def of(self, kind: Any) -> _Read:
        """The reader of a type.

        Raises:
            TypeError: It can't be read from JSON.
        """
        if kind in _SCALARS:
            return _SCALARS[kind]
        if is_model(kind):
            return self._model(kind)
        if isinstance(kind, type) and issubclass(kind, Enum):
            return kind
        if isinstance(kind, NewType):
            return self.of(kind.__supertype__)
        if hasattr(kind, "__value__"):  # a `type` alias
            return self.of(kind.__value__)
        return self._generic(kind, get_origin(kind) or kind, get_args(kind))

    def _generic(self, kind: Any, origin: Any, arguments: tuple[Any, ...]) -> _Read:
        if origin in (Annotated, Required, NotRequired):
            return self.of(arguments[0])
        if origin is Literal:
            return _literal(arguments)
        if origin in (Union, types.UnionType):
            return _union(kind, [self.of(each) for each in arguments])
        if origin in (list, Sequence):
            return _list(self.of(*arguments or (Any,)))
        if origin is tuple:
            return self._tuple(arguments)
        if origin in (dict, Mapping):
            key, value = arguments or (str, Any)
            if key is str:
                return _dict(self.of(value))
        raise TypeError(f"{_name(kind)} can't be read from JSON")

    def _tuple(self, arguments: tuple[Any, ...]) -> _Read:
        if not arguments or arguments[-1] is Ellipsis:
            items = _list(self.of(arguments[0] if arguments else Any))
            return lambda value: tuple(items(value))
        readers = [self.of(each) for each in arguments]

        def read(value: Any) -> tuple[Any, ...]:
            _expect(list, value)
            if len(value) != len(readers):
                raise _MisfitError(f"expected {len(readers)} items, got {len(value)}")
            items = zip(readers, value, strict=True)
            return tuple(_inside(f"[{index}]", each, item) for index, (each, item) in enumerate(items))

        return read

    def _model(self, kind: Any) -> _Read:
        if _is_struct(get_origin(kind) or kind):
            import msgspec  # noqa: PLC0415 - as above

            return lambda value: msgspec.convert(value, kind)
        if _is_pydantic(kind):
            from pydantic import TypeAdapter  # noqa: PLC0415 - as above

            return TypeAdapter(kind).validate_python
        if kind not in self._records:

            def read_later(value: Any) -> Any:
                return self._records[kind](value)

            self._records[kind] = read_later  # for fields of the same type
            self._records[kind] = self._record(kind)
        return self._records[kind]

    def _record(self, kind: Any) -> _Read:
        if get_origin(kind) is not None:
            raise TypeError(f"{kind} can't be read from JSON: it is generic")
        try:
            hints = get_type_hints(kind, include_extras=True)
        except NameError as error:
            raise TypeError(f"an annotation of {_name(kind)} can't be evaluated: {error}") from error
        required = _required_keys(kind, hints) if _is_typed_dict(kind) else _required_fields(kind)
        readers = {name: self._field(kind, name, hints[name]) for name in required}

        def read(value: Any) -> Any:
            _expect(dict, value)
            for name, is_required in required.items():
                if is_required and name not in value:
                    raise _MisfitError("is missing", f".{name}")
            return kind(**{name: _inside(f".{name}", readers[name], value[name]) for name in required if name in value})

        return read

    def _field(self, kind: Any, name: str, hint: Any) -> _Read:
        try:
            return self.of(hint)
        except TypeError as error:
            raise TypeError(f"{_name(kind)}.{name}: {error}") from error


def _required_keys(kind: Any, hints: Mapping[str, Any]) -> dict[str, bool]:
    """The keys of a TypedDict, and whether each is required. `__required_keys__` misses what is annotated as text."""
    origins = {name: get_origin(hint) for name, hint in hints.items()}
    required: frozenset[str] = kind.__required_keys__
    return {
        name: origin is Required or (name in required and origin is not NotRequired) for name, origin in origins.items()
    }


def _required_fields(kind: Any) -> dict[str, bool]:
    """The fields that a dataclass is made of, and whether each is required."""
    missing = dataclasses.MISSING
    fields = (each for each in dataclasses.fields(kind) if each.init)
    return {each.name: each.default is missing and each.default_factory is missing for each in fields}


def _inside(path: str, read: _Read, value: Any) -> Any:
    try:
        return read(value)
    except _MisfitError as misfit:
        raise _MisfitError(misfit.problem, path + misfit.path) from None
    except Exception as error:
        raise _MisfitError(str(error), path) from error


def _expect(kind: type, value: Any) -> Any:
    if type(value) is not kind:
        raise _MisfitError(f"expected {_JSON_NAMES[kind]}, got {_JSON_NAMES[type(value)]}")
    return value


def _exactly(kind: type) -> _Read:
    return lambda value: _expect(kind, value)


def _from_text(kind: type, parse: Callable[[str], Any]) -> _Read:
    def read(value: Any) -> Any:
        try:
            return parse(_expect(str, value))
        except (ValueError, ArithmeticError) as error:
            if isinstance(error, _MisfitError):
                raise
            raise _MisfitError(f"{value!r} is not a {kind.__name__}") from error

    return read


def _float(value: Any) -> float:
    return float(value) if type(value) is int else _expect(float, value)


def _decimal(value: Any) -> Decimal:
    return Decimal(value) if type(value) is int else _from_text(Decimal, Decimal)(value)


def _literal(allowed: tuple[Any, ...]) -> _Read:
    def read(value: Any) -> Any:
        for each in allowed:
            if value == each and type(value) is type(each):
                return value
        raise _MisfitError(f"expected one of {', '.join(map(repr, allowed))}, got {value!r}")

    return read


def _union(kind: Any, readers: Sequence[_Read]) -> _Read:
    def read(value: Any) -> Any:
        problems = []
        for each in readers:
            try:
                return each(value)
            except Exception as error:  # noqa: BLE001 - the constructor of a dataclass may raise anything
                problems.append(str(error))
        raise _MisfitError(f"is not {_name(kind)}: {'; '.join(problems)}")

    return read


def _list(item: _Read) -> _Read:
    return lambda value: [_inside(f"[{index}]", item, each) for index, each in enumerate(_expect(list, value))]


def _dict(item: _Read) -> _Read:
    return lambda value: {key: _inside(f"[{key!r}]", item, each) for key, each in _expect(dict, value).items()}


def _name(kind: Any) -> str:
    return kind.__qualname__ if isinstance(kind, type) and get_origin(kind) is None else str(kind)


_JSON_NAMES = {
    dict: "an object", list: "a list", str: "a string", int: "an integer", float: "a number", bool: "true or false",
    type(None): "null",
}  # fmt: skip

_SCALARS: dict[Any, _Read] = {
    Any: lambda value: value,
    object: lambda value: value,
    str: _exactly(str),
    bool: _exactly(bool),
    int: _exactly(int),
    float: _float,
    None: _exactly(type(None)),
    type(None): _exactly(type(None)),
    datetime: _from_text(datetime, datetime.fromisoformat),
    date: _from_text(date, date.fromisoformat),
    time: _from_text(time, time.fromisoformat),
    UUID: _from_text(UUID, UUID),
    Decimal: _decimal,
}
