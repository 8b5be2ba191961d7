"""Which answers the conformance suite accepts as the expected one."""

from __future__ import annotations

import base64
import time
from typing import Any

import pytest
import yaml
from conformance.values import CaseLoader, Mismatch, fill_in, match


def read(text: str) -> Any:
    return yaml.load(text, CaseLoader)  # noqa: S506  # a safe loader with tags of its own


def holds(expected: str, actual: Any, **names: Any) -> bool:
    try:
        match(read(expected), actual, names, "answer")
    except Mismatch:
        return False
    return True


@pytest.mark.parametrize(
    ("expected", "actual", "fits"),
    [
        ("{a: 1}", {"a": 1, "b": 2}, True),
        ("{a: 1}", {"b": 2}, False),
        ("{a: 1}", [], False),
        ("[1, 2]", [1, 2], True),
        ("[1, 2]", [2, 1], False),
        ("[1]", [1, 2], False),
        ("[]", [], True),
        ("{a: null}", {}, True),
        ("{a: null}", {"a": ""}, False),
        ("{count: 3}", {"count": "3"}, True),
        ("{count: 3}", {"count": "4"}, False),
        ("{a: [{b: x}]}", {"a": [{"b": "x", "c": 1}]}, True),
        ("!any ", "x", True),
        ("!any ", "", False),
        ("!any ", None, False),
        ("!contains ab", "cabd", True),
        ("!contains ab", "ba", False),
        ("!length 2", [1, 2], True),
        ("!length 2", [1], False),
        ("!one_of [a, b]", "b", True),
        ("!one_of [a, b]", "c", False),
        ("!between [1, 3]", 3, True),
        ("!between [1, 3]", 4, False),
        ("!between [1, 3]", None, False),
    ],
)
def test_answers_are_compared_with_expectations(expected: str, actual: Any, *, fits: bool) -> None:
    assert holds(expected, actual) is fits


def test_the_first_use_of_a_name_sets_it_and_later_ones_compare() -> None:
    names: dict[str, Any] = {}
    match(read("{first: $id, second: $id}"), {"first": "x", "second": "x"}, names, "answer")
    assert names == {"id": "x"}
    with pytest.raises(Mismatch, match=r"answer\.id: expected 'x', got 'y'"):
        match(read("{id: $id}"), {"id": "y"}, names, "answer")


@pytest.mark.parametrize(("actual", "fits"), [(1099, False), (1100, True), (1200, True), (1201, False), (None, False)])
def test_a_time_is_compared_with_another(actual: int | None, *, fits: bool) -> None:
    assert holds("!since [$sent, 100, 200]", actual, sent=1000) is fits


@pytest.mark.parametrize(("actual", "fits"), [(7, False), (8, True)])
def test_a_number_is_compared_with_an_earlier_one(actual: int, *, fits: bool) -> None:
    assert holds("!more_than $fence", actual, fence=7) is fits


@pytest.mark.parametrize("expected", ["{data: äöü}", '{data: !hex "c3a4c3b6c3bc"}'])
def test_payloads_are_compared_as_bytes(expected: str) -> None:
    assert holds(expected, {"data": base64.b64encode("äöü".encode()).decode()})
    assert not holds(expected, {"data": base64.b64encode(b"aou").decode()})


def test_arguments_have_their_names_and_tags_replaced() -> None:
    before = time.time_ns() // 1_000_000
    argument = fill_in(read("{a: $x, b: [$x], data: text, at: !now 500, big: !size 3, many: !events 2}"), {"x": 1})
    assert argument.pop("at") - before in range(500, 10_000)
    assert argument == {
        "a": 1,
        "b": [1],
        "data": b"text",
        "big": b"\x00\x01\x02",
        "many": [{"id": "e-0", "data": b"payload of e-0"}, {"id": "e-1", "data": b"payload of e-1"}],
    }


def test_an_undefined_name_is_an_error_in_an_argument() -> None:
    with pytest.raises(KeyError, match="x"):
        fill_in("$x", {})
