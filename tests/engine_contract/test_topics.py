"""Topics and groups as operators see them: names, counts and subscribers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import NotFound
from duebus_server.domain.rates import KeyPolicy, Limits, Rate
from duebus_server.domain.states import EventState
from duebus_server.domain.views import Rates, TopicConfig
from support.builders import new_event, new_events
from support.topics import TopicDriver

if TYPE_CHECKING:
    from support.engines import Harness


async def names(harness: Harness, after: str = "", limit: int = 100) -> list[str]:
    return [info.topic for info in await harness.engine.list_topics(after, limit)]


# --- topics -----------------------------------------------------------------------------------------------------------


async def test_a_list_shows_what_each_verb_has_changed_in_a_topic_that_was_idle(topic: TopicDriver) -> None:
    engine = topic.engine

    async def is_shown(*, idle: bool = False) -> None:
        (listed,) = await engine.list_topics("", 10)
        assert listed == await engine.get_topic(topic.name)
        assert (listed.queued == 0 and not any(group.subscribers for group in listed.groups)) == idle

    await topic.join()
    await topic.leave()
    for _ in range(2):  # the second time, the topic has not changed since it was listed
        await is_shown(idle=True)
    await topic.configure(max_queued=5)
    await is_shown(idle=True)
    await topic.pause()
    await is_shown(idle=True)
    await topic.resume()
    await topic.join()
    await is_shown()
    await topic.dispatch(new_event("later", delay_us=SECOND))
    await is_shown()
    await topic.harness.advance(SECOND)
    assert (await topic.counts())[EventState.READY] == 1
    await is_shown()
    await topic.ack(*await topic.lease())
    await topic.harness.advance(2 * MINUTE)
    await topic.leave()
    await is_shown(idle=True)
    await topic.join(group="other")
    await is_shown()
    await topic.delete_group("other")
    await is_shown(idle=True)


async def test_an_engine_without_topics(harness: Harness) -> None:
    assert await names(harness) == []
    assert await harness.engine.queued() == 0


async def test_topics_are_listed_by_name_a_page_at_a_time(harness: Harness) -> None:
    topics = [TopicDriver(harness) for _ in range(5)]
    for topic in topics:
        await topic.dispatch("event")
    expected = sorted(topic.name for topic in topics)

    assert await names(harness) == expected
    assert await names(harness, limit=2) == expected[:2]
    assert await names(harness, after=expected[1], limit=2) == expected[2:4]
    assert await names(harness, after=expected[3], limit=2) == expected[4:]
    assert await names(harness, after=expected[4], limit=2) == []


async def test_a_page_may_begin_after_an_unknown_topic(harness: Harness, topic: TopicDriver) -> None:
    await topic.dispatch("event")

    assert await names(harness, after=topic.name[:-1]) == [topic.name]
    assert await names(harness, after=topic.name + "0") == []


async def assert_listed_as_read(topic: TopicDriver) -> None:
    (listed,) = await topic.engine.list_topics("", 10)
    assert listed == await topic.engine.get_topic(topic.name)


async def test_a_listed_topic_is_the_same_as_one_that_is_read(harness: Harness, topic: TopicDriver) -> None:
    # events that wait for the first group
    await topic.dispatch("first", new_event(priority=9), *(new_event(key="k") for _ in range(3)))
    await assert_listed_as_read(topic)
    # an ephemeral group, and a lasting one
    await topic.join("looks", "ephemeral", ephemeral_us=MINUTE)
    await assert_listed_as_read(topic)
    await topic.join(consumer="a worker")
    await topic.join("another", "second")
    await topic.dispatch(*new_events(3), new_event(key="k", delay_us=SECOND), new_event(delay_us=HOUR))
    await assert_listed_as_read(topic)
    # leases, a retry, a dead letter
    held = await topic.lease_all()
    await topic.ack(held[0])
    await topic.dead_letter(held[1])
    await topic.nack(held[2], delay_us=MINUTE)
    await assert_listed_as_read(topic)
    # an event of a key that has become due
    await harness.advance(SECOND)
    await assert_listed_as_read(topic)
    # leases that have run out
    await harness.advance(HOUR)
    await assert_listed_as_read(topic)
    assert EventState.LEASED not in await topic.counts()
    # settings, and a pause
    await topic.configure(max_queued=1_000)
    await topic.configure_group(max_retries=1, keys=KeyPolicy(2))
    await topic.pause()
    await assert_listed_as_read(topic)


@pytest.mark.one_partition("§3.10: a topic with several partitions has no limits")
async def test_a_listed_topic_shows_what_holds_its_groups_up(harness: Harness, joined: TopicDriver) -> None:
    await joined.configure(limits=Limits(1, Rate(1, HOUR)))
    await assert_listed_as_read(joined)
    await joined.dispatch(*new_events(3))
    held = await joined.lease_one()
    (listed,) = await harness.engine.list_topics("", 10)
    assert [group.throttled_until_us is None for group in listed.groups] == [False]
    await assert_listed_as_read(joined)
    await joined.pause_for(held, for_us=2 * HOUR)
    await assert_listed_as_read(joined)
    await harness.advance(2 * HOUR)
    await assert_listed_as_read(joined)


@pytest.mark.one_partition("§3.4: a topic with several partitions exists before anything is in it")
async def test_an_unknown_topic_is_not_found(topic: TopicDriver) -> None:
    with pytest.raises(NotFound) as raised:
        await topic.engine.get_topic(topic.name)

    assert raised.value.metadata["topic"] == topic.name


async def test_subscribing_creates_the_topic(topic: TopicDriver) -> None:
    await topic.join("one", "group")

    info = await topic.engine.get_topic(topic.name)

    assert info.queued == 0
    assert [group.group for group in info.groups] == ["group"]


async def test_all_groups_are_listed(topic: TopicDriver) -> None:
    for group in ("b", "c", "a"):
        await topic.join(group, group)

    info = await topic.engine.get_topic(topic.name)

    assert sorted(group.group for group in info.groups) == ["a", "b", "c"]
    assert not any(group.paused for group in info.groups)


@pytest.mark.topic_config(lease_us=7 * SECOND, max_queued=12, dedupe_window_us=HOUR)
async def test_the_settings_are_shown(topic: TopicDriver) -> None:
    partitions = topic.harness.partitions
    expected = TopicConfig(lease_us=7 * SECOND, max_queued=12, dedupe_window_us=HOUR, partitions=partitions)
    assert await topic.engine.config_of(topic.name) == expected

    await topic.dispatch("event")

    assert await topic.engine.config_of(topic.name) == expected
    assert (await topic.engine.get_topic(topic.name)).config == expected


@pytest.mark.one_partition("§3.4: a topic with several partitions exists before anything is in it")
@pytest.mark.topic_config(dedupe_window_us=MINUTE)
async def test_a_topic_that_holds_and_remembers_nothing_is_removed(harness: Harness, topic: TopicDriver) -> None:
    """One topic has no groups and a forgotten request; another one holds an event."""
    kept = TopicDriver(harness)
    await kept.dispatch("event")
    await topic.try_dispatch("event", require_subscriber=True)

    await harness.advance(HOUR)
    await harness.engine.expire_leases()

    assert await names(harness) == [kept.name]


# --- counts -----------------------------------------------------------------------------------------------------------


async def test_every_state_is_counted_and_listed_alike(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(*new_events(7))
    await joined.dispatch(*new_events(4, delay_us=HOUR))
    leases = await joined.lease(max_events=5, lease_us=HOUR)
    await joined.dead_letter(leases[0])
    await joined.nack(leases[1], delay_us=HOUR)
    await joined.dispatch(*[new_event(key="key") for _ in range(3)])
    expected = {
        EventState.SCHEDULED: 5,
        EventState.READY: 3,
        EventState.BLOCKED: 2,
        EventState.LEASED: 3,
        EventState.DEAD: 1,
    }

    assert (await joined.group()).counts == expected
    for state, count in expected.items():
        assert len((await joined.page(state, 100)).events) == count
    assert await joined.queued() == 13
    assert await harness.engine.queued() == 13


async def test_counts_are_up_to_date_without_a_sweep(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("dies", max_retries=0))
    await joined.let_run_out()
    await joined.dispatch(new_event(delay_us=SECOND), "leased")
    await joined.lease(lease_us=SECOND)

    await harness.advance(SECOND)

    assert await joined.counts() == {EventState.READY: 2, EventState.DEAD: 1}
    assert await joined.queued() == 2


async def test_a_state_without_events_has_a_count_of_zero(joined: TopicDriver) -> None:
    assert (await joined.group()).counts == dict.fromkeys(EventState, 0)


async def test_the_engine_counts_what_its_topics_hold(harness: Harness) -> None:
    for how_many in (1, 2, 3):
        await TopicDriver(harness).dispatch(*new_events(how_many))

    assert await harness.engine.queued() == 6


# --- age --------------------------------------------------------------------------------------------------------------


async def test_the_age_is_that_of_the_oldest_ready_event(harness: Harness, joined: TopicDriver) -> None:
    assert (await joined.group()).oldest_ready_age_us is None
    await joined.dispatch(new_event("oldest", delay_us=MINUTE))
    assert (await joined.group()).oldest_ready_age_us is None

    await harness.advance(2 * MINUTE)
    await joined.dispatch("newer")
    await harness.advance(SECOND)

    assert harness.near(61 * SECOND)((await joined.group()).oldest_ready_age_us)
    (oldest,) = await joined.lease(max_events=1)
    assert oldest.event_id == "oldest"
    assert harness.near(SECOND)((await joined.group()).oldest_ready_age_us)


# --- subscribers ------------------------------------------------------------------------------------------------------


async def test_subscribers_are_listed_with_their_leases(harness: Harness, topic: TopicDriver) -> None:
    connected_us = harness.now_us()
    await topic.join("one", consumer="billing-1")
    await topic.join("two")
    await topic.dispatch(*new_events(3))
    leases = await topic.lease("one", max_events=2)

    one, two = sorted((await topic.group()).subscribers, key=lambda subscriber: subscriber.session_id)
    assert (one.session_id, one.consumer, one.in_flight) == ("one", "billing-1", 2)
    assert (two.session_id, two.consumer, two.in_flight) == ("two", "", 0)
    assert harness.near(connected_us)(one.connected_us)

    await topic.ack(leases[0])
    await topic.leave("two")
    (one,) = (await topic.group()).subscribers
    assert (one.session_id, one.in_flight) == ("one", 1)


async def test_a_lease_that_ran_out_is_not_in_flight(harness: Harness, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    await joined.lease_one(lease_us=SECOND)

    await harness.advance(SECOND)

    assert [subscriber.in_flight for subscriber in (await joined.group()).subscribers] == [0]


# --- rates ------------------------------------------------------------------------------------------------------------


async def test_rates_cover_the_last_minute(harness: Harness, joined: TopicDriver) -> None:
    await harness.advance(2 * MINUTE)
    await joined.dispatch(*new_events(120))
    leases = await joined.lease(max_events=60)
    await joined.ack(*leases[:30])
    await joined.nack(*leases[30:36])
    await harness.advance(SECOND)

    rates = (await joined.group()).rates
    assert rates.dispatched == pytest.approx(2.0, rel=0.1)
    assert rates.delivered == pytest.approx(1.0, rel=0.1)
    assert rates.acked == pytest.approx(0.5, rel=0.1)
    assert rates.nacked == pytest.approx(0.1, rel=0.1)

    await harness.advance(2 * MINUTE)
    assert (await joined.group()).rates == Rates()
