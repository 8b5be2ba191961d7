"""What the bus accepts, and the errors for everything else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain import limits
from duebus_server.domain.clock import HOUR, MILLISECOND, SECOND
from duebus_server.domain.errors import InvalidArgument, NoTopicSpecified
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.mark.parametrize("name", ["a", "0", "order.created", "A-b_c.9", "x" * 255])
def test_valid_names(name: str) -> None:
    limits.check_topic(name)
    limits.check_name("group", name)


@pytest.mark.parametrize(
    "name", [".a", "-a", "_a", "a b", "a/b", "a:b", "a{b}", "ä", "a\n", "\na", "a\x00", "x" * 256, " ", "٣"]
)
def test_invalid_names(name: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        limits.check_topic(name)
    assert raised.value.violation.field == "topic"

    with pytest.raises(InvalidArgument) as raised:
        limits.check_name("group", name)
    assert raised.value.violation.field == "group"


def test_a_topic_is_required() -> None:
    with pytest.raises(NoTopicSpecified):
        limits.check_topic("")


@pytest.mark.parametrize("text", ["", "billing-7f9c", "Grüße", "\N{SNOWMAN}" * 85, "x" * 255])
def test_valid_text(text: str) -> None:
    limits.check_text("consumer", text)


@pytest.mark.parametrize("text", ["\x00", "a\nb", "\x1b[31m", "\u2028", "x" * 256, "\N{SNOWMAN}" * 86])
def test_invalid_text(text: str) -> None:
    with pytest.raises(InvalidArgument) as raised:
        limits.check_text("consumer", text)
    assert raised.value.violation.field == "consumer"


@given(low=st.integers(-100, 100), span=st.integers(0, 100), value=st.integers(-300, 300))
def test_a_range_includes_both_ends_and_nothing_else(low: int, span: int, value: int) -> None:
    checks: list[Callable[..., None]] = [limits.check_range, limits.check_duration]
    for check in checks:
        if low <= value <= low + span:
            check("field", value, low, low + span)
        else:
            with pytest.raises(InvalidArgument, match=r"^field: "):
                check("field", value, low, low + span)


def test_the_error_of_a_duration_is_in_seconds() -> None:
    with pytest.raises(InvalidArgument) as raised:
        limits.check_duration("lease", 50 * MILLISECOND, 100 * MILLISECOND, 12 * HOUR)

    assert raised.value.violation.description == "is 0.05 s, must be from 0.1 s to 43,200 s"


def test_the_error_of_a_length_is_in_bytes() -> None:
    limits.check_length("data", 10, 10)

    with pytest.raises(InvalidArgument) as raised:
        limits.check_length("data", 11, 10)

    assert raised.value.violation.description == "has 11 bytes, at most 10 are allowed"


def test_the_defaults_are_within_the_limits() -> None:
    assert 1 <= limits.DEFAULT_IN_FLIGHT <= limits.MAX_IN_FLIGHT
    assert 1 <= limits.DEFAULT_IN_FLIGHT_BYTES <= limits.MAX_IN_FLIGHT_BYTES
    assert limits.MIN_LEASE_US < SECOND < limits.MAX_LEASE_US
