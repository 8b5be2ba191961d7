"""The values of a case: its tags and names, and the comparison of an answer with what is expected.

A text `$name` stands for a value that the case has named. In an expectation, an undefined name is set to the actual
value. A mapping expects the fields that it has, a list each of its elements.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

Names = dict[str, Any]


class Mismatch(AssertionError):
    """The actual value is not the expected one."""

    def __init__(self, where: str, expected: object, actual: object) -> None:
        super().__init__(f"{where}: expected {_short(expected)}, got {_short(actual)}")


@dataclass(frozen=True)
class Now:
    """`!now MS`: the time that many milliseconds from now."""

    plus_ms: int


@dataclass(frozen=True)
class Check:
    """A tag that matches more than one value."""

    text: str
    holds: Callable[[Any, Names], bool]

    def __repr__(self) -> str:
        return self.text


def fill_in(value: Any, names: Names) -> Any:
    """An argument with its names replaced by their values.

    Raises:
        KeyError: a name is undefined.
    """
    match value:
        case dict():
            return {key: _as_bytes(each) if key == "data" else fill_in(each, names) for key, each in value.items()}
        case list():
            return [fill_in(each, names) for each in value]
        case Now():
            return time.time_ns() // 1_000_000 + value.plus_ms
        case str() if value.startswith("$"):
            return names[value[1:]]
    return value


def match(expected: Any, actual: Any, names: Names, where: str) -> None:
    """Compare a value with what is expected, and set undefined names.

    Raises:
        Mismatch: it is not as expected.
    """
    if isinstance(expected, dict) and isinstance(actual, dict):
        for key, each in expected.items():
            _match_field(key, each, actual.get(key), names, f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(actual, list) and len(expected) == len(actual):
        for index, (each, came) in enumerate(zip(expected, actual, strict=True)):
            match(each, came, names, f"{where}[{index}]")
    elif isinstance(expected, str) and expected.startswith("$") and expected[1:] not in names:
        names[expected[1:]] = actual
    elif not _equals(expected, actual, names):
        raise Mismatch(where, fill_in(expected, names), actual)


def _match_field(key: str, expected: Any, actual: Any, names: Names, where: str) -> None:
    if key == "data":
        expected, actual = _as_bytes(expected), base64.b64decode(actual or "", validate=True)
    match(expected, actual, names, where)


def _equals(expected: Any, actual: Any, names: Names) -> bool:
    if isinstance(expected, Check):
        return expected.holds(actual, names)
    expected = fill_in(expected, names)
    if isinstance(expected, int) and isinstance(actual, str):  # protobuf's JSON has 64 bits as text
        return str(expected) == actual
    return bool(expected == actual)


def _as_bytes(value: Any) -> Any:
    return value.encode() if isinstance(value, str) else value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 500 else f"{text[:500]}... ({len(text)} characters)"


# --- tags -------------------------------------------------------------------------------------------------------------


class CaseLoader(yaml.CSafeLoader):
    """YAML with the tags below."""


def _tag(name: str) -> Callable[[Callable[[Any], Any]], Callable[[Any], Any]]:
    def put_on(make: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def construct(loader: CaseLoader, node: yaml.Node) -> Any:
            return make(_plain(loader, node))

        CaseLoader.add_constructor(f"!{name}", construct)
        return make

    return put_on


def _plain(loader: CaseLoader, node: yaml.Node) -> Any:
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    resolved = loader.resolve(yaml.ScalarNode, node.value, (True, False))  # type: ignore[no-untyped-call]
    return loader.construct_object(yaml.ScalarNode(resolved, node.value))


@_tag("now")
def _now(plus_ms: int) -> Now:
    return Now(plus_ms)


@_tag("at")
def _at(moment: object) -> int:
    """A moment, in RFC 3339, as milliseconds since the Unix epoch."""
    return round(datetime.fromisoformat(str(moment)).timestamp() * 1000)


@_tag("hex")
def _hex(digits: object) -> bytes:
    """Bytes in hexadecimal."""
    return bytes.fromhex(str(digits))


@_tag("size")
def _size(count: int) -> bytes:
    """This many bytes, of every value in turn."""
    return (bytes(range(256)) * (count // 256 + 1))[:count]


@_tag("repeat")
def _repeat(arguments: list[Any]) -> str:
    """`!repeat [TEXT, COUNT]`."""
    text, count = arguments
    return str(text) * int(count)


@_tag("events")
def _events(count: int) -> list[dict[str, str]]:
    return [{"id": event_id, "data": f"payload of {event_id}"} for event_id in _event_ids(count)]


@_tag("event_ids")
def _event_ids(count: int) -> list[str]:
    return [f"e-{number}" for number in range(count)]


@_tag("any")
def _any(_: object) -> Check:
    """Any value that is not empty."""
    return Check("anything", lambda actual, _: actual not in (None, "", [], {}))


@_tag("contains")
def _contains(part: Any) -> Check:
    return Check(f"something with {part!r}", lambda actual, names: fill_in(part, names) in actual)


@_tag("length")
def _length(count: int | list[int]) -> Check:
    """`!length COUNT`, or `!length [LEAST, MOST]`."""
    least, most = count if isinstance(count, list) else (count, count)
    return Check(f"{count} of them", lambda actual, _: least <= len(actual) <= most)


@_tag("one_of")
def _one_of(values: list[Any]) -> Check:
    return Check(f"one of {values}", lambda actual, names: actual in fill_in(values, names))


@_tag("in_any_order")
def _in_any_order(values: list[Any]) -> Check:
    return Check(f"{values} in any order", lambda actual, names: sorted(actual) == sorted(fill_in(values, names)))


@_tag("between")
def _between(bounds: list[int]) -> Check:
    """A number; protobuf's JSON has 64 bits as text."""
    low, high = bounds
    return Check(
        f"from {low} to {high}", lambda actual, _: isinstance(actual, int | str) and low <= int(actual) <= high
    )


@_tag("more_than")
def _more_than(name: Any) -> Check:
    return Check(f"more than {name}", lambda actual, names: isinstance(actual, int) and actual > fill_in(name, names))


@_tag("since")
def _since(arguments: list[Any]) -> Check:
    """`!since [$time, LEAST, MOST]`: between LEAST and MOST milliseconds after a time."""
    moment, least, most = arguments

    def holds(actual: Any, names: Names) -> bool:
        return isinstance(actual, int) and least <= actual - fill_in(moment, names) <= most

    return Check(f"{least} to {most} ms after {moment}", holds)
