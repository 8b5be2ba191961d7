"""Payloads read as dataclasses, TypedDicts, msgspec Structs and pydantic models."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from decimal import Decimal
from enum import Enum
from typing import Any, Generic, Literal, NewType, NotRequired, TypedDict, TypeVar
from uuid import UUID

import msgspec
import pydantic
import pydantic.dataclasses
import pytest
from duebus._core.json_types import decoder, is_model
from duebus._core.payload import encode_payload

T = TypeVar("T")
Sku = NewType("Sku", str)


class Colour(Enum):
    RED = "red"


class Address(TypedDict):
    street: str
    zip_code: NotRequired[str]


class Weight(msgspec.Struct):
    grams: int = msgspec.field(name="g")


class Price(pydantic.BaseModel):
    amount: Decimal


@pydantic.dataclasses.dataclass
class Discount:
    percent: int


@dataclass
class Line:
    sku: Sku
    count: int = 1
    parts: list[Line] = field(default_factory=list)


@dataclass
class Order:
    number: int
    total: float
    paid: bool
    lines: list[Line]
    labels: dict[str, str]
    address: Address
    state: Literal["new", "done"]
    colour: Colour
    placed_at: datetime
    day: date
    hour: time
    token: UUID
    price: Decimal
    place: tuple[float, float]
    codes: tuple[int, ...]
    weight: Weight
    net: Price
    discount: Discount
    note: str | None = None
    extra: Any = None
    checked: bool = field(default=False, init=False)


ORDER = Order(
    number=17,
    total=3,
    paid=True,
    lines=[Line(Sku("a"), 2, [Line(Sku("b"))])],
    labels={"k": "v"},
    address={"street": "High Street 1"},
    state="new",
    colour=Colour.RED,
    placed_at=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    day=date(2026, 1, 2),
    hour=time(3, 4),
    token=UUID(int=5),
    price=Decimal("1.10"),
    place=(1.5, 2),
    codes=(1, 2),
    weight=Weight(250),
    net=Price(amount=Decimal(3)),
    discount=Discount(10),
    extra={"any": ["thing"]},
)


@dataclass
class Node:
    names: list[str] | None = None
    pair: tuple[int, str] | None = None


@dataclass
class Positive:
    value: int

    def __post_init__(self) -> None:
        if self.value < 1:
            raise ValueError("value must be positive")


@dataclass
class Holder:
    positive: Positive


@dataclass
class WithBytes:
    blob: bytes


@dataclass
class Box(Generic[T]):
    content: T


@dataclass
class Unknown:
    what: Nowhere  # type: ignore[name-defined]  # noqa: F821 - that is the point


def encoded(value: object) -> bytes:
    return encode_payload(value, None, "data")[0]


def test_what_was_encoded_is_read_back() -> None:
    assert decoder(Order)(encoded(ORDER)) == ORDER


def test_a_typed_dict_a_struct_and_a_pydantic_model_are_read() -> None:
    assert decoder(Address)(b'{"street": "a", "zip_code": "1", "unknown": 2}') == {"street": "a", "zip_code": "1"}
    assert decoder(Weight)(b'{"g": 250}') == Weight(250)
    assert decoder(Price)(b'{"amount": "1.5"}') == Price(amount=Decimal("1.5"))
    assert decoder(Discount)(b'{"percent": 10}') == Discount(10)


def test_fields_that_the_type_does_not_have_are_ignored_and_defaults_are_filled_in() -> None:
    assert decoder(Line)(b'{"sku": "a", "colour": "red"}') == Line(Sku("a"))


@pytest.mark.parametrize(
    ("kind", "payload", "problem"),
    [
        (Line, b"no json", "Expecting value: line 1 column 1 (char 0)"),
        (Line, b"[]", "expected an object, got a list"),
        (Line, b"{}", "sku: is missing"),
        (Line, b'{"sku": null}', "sku: expected a string, got null"),
        (Line, b'{"sku": "a", "count": true}', "count: expected an integer, got true or false"),
        (Line, b'{"sku": "a", "count": 1.5}', "count: expected an integer, got a number"),
        (Line, b'{"sku": "a", "parts": [{"sku": "b", "parts": [{}]}]}', "parts[0].parts[0].sku: is missing"),
        (Address, b'{"zip_code": "1"}', "street: is missing"),
        (Node, b'{"names": ["a", 1]}', "names: is not list[str] | None: [1]: expected a string, got an integer; "),
        (Node, b'{"pair": [1]}', "pair: is not tuple[int, str] | None: expected 2 items, got 1; "),
        (Positive, b'{"value": 0}', "value must be positive"),
        (Holder, b'{"positive": {"value": 0}}', "positive: value must be positive"),
        (Weight, b'{"g": "heavy"}', "Expected `int`, got `str` - at `$.g`"),
        (Price, b'{"amount": "much"}', "1 validation error for Price"),
    ],
)
def test_the_error_says_what_does_not_fit(kind: type, payload: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match="^" + re.escape(problem)):
        decoder(kind)(payload)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("total", "3", "total: expected a number, got a string"),
        ("state", "old", "state: expected one of 'new', 'done', got 'old'"),
        ("colour", "blue", "colour: 'blue' is not a valid Colour"),
        ("placed_at", "yesterday", "placed_at: 'yesterday' is not a datetime"),
        ("token", "x", "token: 'x' is not a UUID"),
        ("price", "x", "price: 'x' is not a Decimal"),
        ("labels", {"k": 1}, "labels['k']: expected a string, got an integer"),
        ("place", [1, "b"], "place[1]: expected a number, got a string"),
        ("weight", {"g": "b"}, "weight: Expected `int`, got `str` - at `$.g`"),
        ("net", {}, "net: 1 validation error for Price"),
    ],
)
def test_the_error_names_the_field(name: str, value: object, problem: str) -> None:
    fields = {each: getattr(ORDER, each) for each in ORDER.__dataclass_fields__} | {name: value}
    with pytest.raises(ValueError, match="^" + re.escape(problem)):
        decoder(Order)(encoded(fields))


@pytest.mark.parametrize(
    ("kind", "problem"),
    [
        (WithBytes, "WithBytes.blob: bytes can't be read from JSON"),
        (Box[int], "Box[int] can't be read from JSON: it is generic"),
        (Unknown, "an annotation of Unknown can't be evaluated: name 'Nowhere' is not defined"),
    ],
)
def test_a_type_that_cannot_be_read_is_refused_at_once(kind: type, problem: str) -> None:
    with pytest.raises(TypeError) as caught:
        decoder(kind)
    assert problem in str(caught.value)


def test_what_is_a_model() -> None:
    assert all(map(is_model, (Order, Address, Weight, Price, Discount, Box, Box[int])))
    assert not any(map(is_model, (int, dict, list[Order], Order | None, None, "Order", ORDER, Any)))
