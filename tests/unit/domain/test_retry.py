"""When a failed event is retried."""

from __future__ import annotations

import random

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, MINUTE, SECOND
from duebus_server.domain.retry import JITTER, RetryPolicy
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def no_jitter(monkeypatch: pytest.MonkeyPatch) -> None:
    """The random factor is 1."""
    monkeypatch.setattr(random, "uniform", lambda low, high: (low + high) / 2)


def test_the_defaults_are_those_of_the_contract() -> None:
    assert RetryPolicy() == RetryPolicy(max_retries=3, backoff_initial_us=500 * MILLISECOND, backoff_max_us=5 * MINUTE)


@pytest.mark.usefixtures("no_jitter")
def test_the_backoff_doubles_up_to_the_maximum() -> None:
    policy = RetryPolicy(backoff_initial_us=SECOND, backoff_max_us=10 * SECOND)

    backoffs = [policy.backoff_us(attempt) for attempt in (1, 2, 3, 4, 5, 6)]

    assert backoffs == [1 * SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, 10 * SECOND, 10 * SECOND]


@pytest.mark.usefixtures("no_jitter")
def test_a_maximum_below_the_initial_backoff_applies() -> None:
    assert RetryPolicy(backoff_initial_us=MINUTE, backoff_max_us=SECOND).backoff_us(1) == SECOND


@pytest.mark.usefixtures("no_jitter")
@pytest.mark.parametrize("attempt", [64, 1_000, 1_000_000])
def test_a_million_attempts_are_not_too_many(attempt: int) -> None:
    assert RetryPolicy(backoff_initial_us=1, backoff_max_us=HOUR).backoff_us(attempt) == HOUR


@given(
    attempt=st.integers(1, 200),
    initial_us=st.integers(MILLISECOND, 30 * 24 * HOUR),
    max_us=st.integers(MILLISECOND, 30 * 24 * HOUR),
)
def test_every_backoff_is_within_a_fifth_of_its_step(attempt: int, initial_us: int, max_us: int) -> None:
    policy = RetryPolicy(backoff_initial_us=initial_us, backoff_max_us=max_us)
    step_us = min(max_us, initial_us * 2 ** (attempt - 1))

    backoff_us = policy.backoff_us(attempt)

    assert isinstance(backoff_us, int)
    assert abs(backoff_us - step_us) <= step_us * JITTER + 1


def test_events_that_failed_together_do_not_return_together() -> None:
    backoffs = [RetryPolicy().backoff_us(4) for _ in range(200)]

    low_us, high_us = 4 * SECOND * (1 - JITTER), 4 * SECOND * (1 + JITTER)
    # The chance that 200 values all miss an outer tenth of the range is 1 in a billion.
    assert min(backoffs) < low_us + (high_us - low_us) / 10
    assert max(backoffs) > high_us - (high_us - low_us) / 10
