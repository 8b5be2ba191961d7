"""Operators' requests: changes that are merged, and steps that follow each other."""

from __future__ import annotations

import pytest
from duebus_server.domain.administration import (
    DeadLetterProgress,
    DeadLetterStep,
    RetryPolicyChanges,
    TopicChanges,
)
from duebus_server.domain.clock import MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument
from duebus_server.domain.retry import RetryPolicy
from duebus_server.domain.views import TopicConfig

NOW_US = 1_000 * SECOND


def test_settings_that_are_not_set_stay_as_they_are() -> None:
    changes = TopicChanges(RetryPolicyChanges(max_retries=0), max_queued=0)

    assert changes.over(TopicConfig(max_queued=5)) == TopicConfig(RetryPolicy(max_retries=0), max_queued=0)


def test_the_later_of_two_changes_applies() -> None:
    first = TopicChanges(RetryPolicyChanges(1, SECOND), max_queued=1, lease_us=SECOND)
    later = TopicChanges(RetryPolicyChanges(max_retries=2), max_queued=2, partitions=3)

    assert first.then(later) == TopicChanges(RetryPolicyChanges(2, SECOND), SECOND, 2, partitions=3)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        (RetryPolicyChanges(backoff_initial_us=MINUTE, backoff_max_us=SECOND), "backoff_max"),
        (RetryPolicyChanges(backoff_max_us=SECOND // 4), "backoff_max"),
        (RetryPolicyChanges(backoff_initial_us=10 * MINUTE), "backoff_initial"),
    ],
)
def test_a_contradictory_backoff_is_refused_and_named(changes: RetryPolicyChanges, field: str) -> None:
    for apply in (lambda: changes.applied_to(RetryPolicy()), lambda: TopicChanges(changes).applied_to(TopicConfig())):
        with pytest.raises(InvalidArgument, match=r"backoff_max \(.* s\) must not be less") as caught:
            apply()
        assert caught.value.violation.field == f"config.retry_policy.{field}"
    assert changes.over(RetryPolicy()).backoff_us(1) <= 10 * MINUTE, "it can still be read"


def test_a_policy_that_was_invalid_before_does_not_block_unrelated_changes() -> None:
    odd = TopicConfig(RetryPolicy(3, MINUTE, SECOND))

    assert TopicChanges(max_queued=1).applied_to(odd).max_queued == 1


@pytest.mark.parametrize(
    ("changes", "sets_something"),
    [
        (TopicChanges(), False),
        (TopicChanges(max_queued=0), True),
        (TopicChanges(RetryPolicyChanges(max_retries=0)), True),
    ],
)
def test_changes_are_truthy_if_they_set_something(changes: TopicChanges, sets_something: bool) -> None:
    assert bool(changes) is sets_something


def test_steps_follow_each_other_at_one_rate() -> None:
    first = DeadLetterStep(limit=10, rate=4)
    assert [first.due_us(index, NOW_US) - NOW_US for index in range(3)] == [0, SECOND // 4, SECOND // 2]

    second = DeadLetterProgress(moved=8, began_us=NOW_US, cursor="behind").next_step(first)

    assert second == DeadLetterStep(10, 4, NOW_US, 8, "behind")
    assert second.due_us(0, NOW_US) == NOW_US + 2 * SECOND
    third = DeadLetterProgress(moved=4, began_us=NOW_US, cursor="further").next_step(second)
    assert third is not None
    assert third.moved == 12
    assert DeadLetterProgress(moved=1, began_us=NOW_US, cursor=None).next_step(third) is None


def test_without_a_rate_all_events_are_due_at_once() -> None:
    assert DeadLetterStep(10, moved=7).due_us(3, NOW_US) == NOW_US
