"""A topic's settings and a group's retry policy apply to all later decisions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import InvalidArgument, MaxQueuedEventsReached, NotFound
from duebus_server.domain.retry import JITTER, RetryPolicy
from duebus_server.domain.states import EventState
from duebus_server.domain.views import TopicConfig
from support.builders import new_event

if TYPE_CHECKING:
    from support.engines import Harness
    from support.topics import TopicDriver


async def backoff_us(topic: TopicDriver, group: str = "default") -> int:
    """The backoff of the next event that fails in the group, which the session WORKER has joined."""
    await topic.dispatch(new_event("fails"))
    lease = await topic.lease_one(group=group)
    start_us = topic.harness.now_us()
    await topic.nack(lease, group=group)
    return (await topic.group_info("fails", group)).deliver_at_us - start_us


def around(topic: TopicDriver, expected_us: int, backoff: int) -> bool:
    """Whether a backoff is the expected one, within its random variation."""
    return expected_us * (1 - JITTER) <= backoff <= expected_us * (1 + JITTER) + topic.harness.grain_us


# --- what is in force -------------------------------------------------------------------------------------------------


async def test_a_setting_that_is_not_given_keeps_its_value(topic: TopicDriver) -> None:
    first = await topic.configure(max_retries=7, lease_us=MINUTE)
    second = await topic.configure(backoff_max_us=HOUR, max_queued=9)

    parts = topic.harness.partitions
    assert first == TopicConfig(RetryPolicy(max_retries=7), lease_us=MINUTE, partitions=parts)
    policy = RetryPolicy(max_retries=7, backoff_max_us=HOUR)
    expected = TopicConfig(policy, lease_us=MINUTE, max_queued=9, partitions=parts)
    assert second == expected
    assert (await topic.engine.get_topic(topic.name)).config == expected
    assert await topic.engine.config_of(topic.name) == expected


async def test_every_setting_can_be_changed(topic: TopicDriver) -> None:
    config = await topic.configure(
        max_retries=0,
        backoff_initial_us=SECOND,
        backoff_max_us=SECOND,
        lease_us=MINUTE,
        max_queued=0,
        dead_letter_retention_us=HOUR,
        dedupe_window_us=0,
    )

    policy = RetryPolicy(max_retries=0, backoff_initial_us=SECOND, backoff_max_us=SECOND)
    assert config == TopicConfig(policy, MINUTE, 0, HOUR, 0, topic.harness.partitions)


async def test_configuring_creates_the_topic(topic: TopicDriver) -> None:
    await topic.configure(max_queued=5)
    await topic.engine.expire_leases()

    info = await topic.engine.get_topic(topic.name)

    assert (info.config.max_queued, info.queued, list(info.groups)) == (5, 0, [])


async def test_other_topics_keep_their_settings(topic: TopicDriver) -> None:
    await topic.configure(max_queued=5)

    assert (await topic.engine.config_of("another")).max_queued == 0


async def test_settings_outlive_events_and_groups(joined: TopicDriver) -> None:
    await joined.configure(max_queued=5)
    await joined.dispatch("event")
    await joined.delete_group()
    await joined.engine.expire_leases()

    assert (await joined.engine.config_of(joined.name)).max_queued == 5


# --- each setting's effect --------------------------------------------------------------------------------------------


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
async def test_max_queued_limits_dispatches(joined: TopicDriver) -> None:
    await joined.configure(max_queued=2 * joined.harness.partitions)
    await joined.dispatch("a", "b")
    assert isinstance(await joined.try_dispatch("c"), MaxQueuedEventsReached)

    await joined.configure(max_queued=3 * joined.harness.partitions)
    await joined.dispatch("c")
    await joined.configure(max_queued=0)
    await joined.dispatch("d", "e", "f")


async def test_a_topic_above_its_new_limit_still_detects_duplicates(joined: TopicDriver) -> None:
    await joined.dispatch("a", "b")
    await joined.configure(max_queued=1)

    assert list((await joined.dispatch("a")).duplicate_event_ids) == ["a"]
    assert isinstance(await joined.try_dispatch("c"), MaxQueuedEventsReached)


async def test_lease_sets_the_duration_of_leases(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.configure(lease_us=2 * MINUTE)
    start_us = harness.now_us()

    lease = await joined.lease_one()

    assert harness.near(start_us + 2 * MINUTE)(lease.lease_expires_us)
    await joined.configure(lease_us=3 * MINUTE)
    start_us = harness.now_us()
    await joined.extend(lease)
    assert harness.near(start_us + 3 * MINUTE)((await joined.group_info("event")).lease_expires_us)


async def test_backoff_applies_to_events_dispatched_before(joined: TopicDriver) -> None:
    await joined.dispatch("before")
    lease = await joined.lease_one()
    start_us = joined.harness.now_us()

    await joined.configure(backoff_initial_us=HOUR, backoff_max_us=HOUR)

    await joined.nack(lease)
    waits_us = (await joined.group_info("before")).deliver_at_us - start_us
    assert around(joined, HOUR, waits_us)


async def test_max_retries_apply_to_events_dispatched_before(joined: TopicDriver) -> None:
    await joined.dispatch("before", new_event("its own", max_retries=5))
    before, its_own = await joined.lease()

    await joined.configure(max_retries=0)

    await joined.nack(before, its_own)
    assert await joined.state("before") is EventState.DEAD
    assert await joined.state("its own") is EventState.SCHEDULED
    assert (await joined.group_info("before")).max_retries == 0


async def test_max_retries_apply_to_leases_that_run_out(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.let_run_out()
    await joined.lease_one(lease_us=SECOND)
    await joined.configure(max_retries=0)

    await harness.advance(SECOND)

    assert await joined.counts() == {EventState.DEAD: 1}


async def test_dead_letter_retention_purges(harness: Harness, joined: TopicDriver) -> None:
    await joined.make_dead("old")
    await harness.advance(MINUTE)
    await joined.make_dead("new")

    await joined.configure(dead_letter_retention_us=MINUTE)
    await joined.engine.expire_leases()

    assert await joined.state("old") is None
    assert await joined.state("new") is EventState.DEAD


async def test_dedupe_window_limits_how_long_ids_are_remembered(harness: Harness, joined: TopicDriver) -> None:
    await joined.configure(dedupe_window_us=HOUR)
    await joined.dispatch("event")
    await joined.ack(await joined.lease_one())

    await harness.advance(HOUR - MINUTE)
    assert list((await joined.dispatch("event")).duplicate_event_ids) == ["event"]
    await harness.advance(MINUTE)
    assert list((await joined.dispatch("event")).duplicate_event_ids) == []


# --- a group's own policy ---------------------------------------------------------------------------------------------


async def test_a_group_has_its_own_retry_policy(topic: TopicDriver) -> None:
    await topic.join(group="patient")
    await topic.join(group="hasty")
    await topic.configure(max_retries=5)

    config = await topic.configure_group("hasty", max_retries=0)

    assert config.retry_policy.max_retries == 0
    assert (await topic.engine.config_of(topic.name)).retry_policy.max_retries == 5
    assert (await topic.group("hasty")).retry_policy.max_retries == 0
    assert (await topic.group("patient")).retry_policy.max_retries == 5
    await topic.dispatch("event")
    for group in ("patient", "hasty"):
        await topic.nack(await topic.lease_one(group=group), group=group)
    assert await topic.state("event", "patient") is EventState.SCHEDULED
    assert await topic.state("event", "hasty") is EventState.DEAD
    assert (
        (await topic.group_info("event", "patient")).max_retries,
        (await topic.group_info("event", "hasty")).max_retries,
    ) == (
        5,
        0,
    )


async def test_settings_that_a_group_does_not_have_follow_the_topic(joined: TopicDriver) -> None:
    await joined.configure_group(max_retries=9)

    await joined.configure(backoff_initial_us=HOUR, backoff_max_us=2 * HOUR)

    policy = (await joined.group()).retry_policy
    assert policy == RetryPolicy(9, HOUR, 2 * HOUR)
    assert around(joined, HOUR, await backoff_us(joined))


async def test_a_group_keeps_its_earlier_settings(joined: TopicDriver) -> None:
    await joined.configure_group(max_retries=9)

    config = await joined.configure_group(backoff_initial_us=SECOND)

    assert config.retry_policy == RetryPolicy(9, SECOND)


async def test_the_maximum_backoff_applies_when_group_and_topic_contradict_each_other(joined: TopicDriver) -> None:
    await joined.configure_group(backoff_initial_us=MINUTE)

    await joined.configure(backoff_initial_us=SECOND, backoff_max_us=SECOND)

    assert around(joined, SECOND, await backoff_us(joined))


# --- refused ----------------------------------------------------------------------------------------------------------


async def test_a_maximum_backoff_below_the_initial_one_is_refused(joined: TopicDriver) -> None:
    before = await joined.engine.config_of(joined.name)

    for changes, field in (
        ({"backoff_initial_us": HOUR, "backoff_max_us": MINUTE}, "backoff_max"),
        ({"backoff_max_us": SECOND // 4}, "backoff_max"),
        ({"backoff_initial_us": HOUR}, "backoff_initial"),
    ):
        for configure in (joined.configure, joined.configure_group):
            with pytest.raises(InvalidArgument) as raised:
                await configure(**changes)
            assert raised.value.violation.field == f"config.retry_policy.{field}"

    assert await joined.engine.config_of(joined.name) == before
    assert (await joined.group()).retry_policy == before.retry_policy


@pytest.mark.one_partition("§3.4: a topic with several partitions exists before anything is in it")
async def test_a_refused_change_creates_no_topic(topic: TopicDriver) -> None:
    with pytest.raises(InvalidArgument):
        await topic.configure(max_queued=1, backoff_initial_us=HOUR)

    with pytest.raises(NotFound):
        await topic.engine.get_topic(topic.name)


async def test_an_unknown_topic_or_group_is_not_found(topic: TopicDriver) -> None:
    with pytest.raises(NotFound) as raised:
        await topic.configure_group(max_retries=1)
    assert raised.value.metadata["topic"] == topic.name

    await topic.dispatch("event")
    with pytest.raises(NotFound) as raised:
        await topic.configure_group("nobody", max_retries=1)
    assert raised.value.metadata == {"topic": topic.name, "group": "nobody"}
