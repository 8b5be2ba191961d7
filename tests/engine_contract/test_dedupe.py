"""A repeated request adds nothing; nor does an event id that the topic holds or recently held."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import MaxQueuedEventsReached, NoHandlerFound, RequestIdReused
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, NewEvent
from duebus_server.domain.states import EventState
from support.builders import new_event
from support.topics import TopicDriver, ids, with_ids

if TYPE_CHECKING:
    from support.engines import Harness

WINDOW_US = 10 * MINUTE


# --- request ids ------------------------------------------------------------------------------------------------------


async def test_a_repeated_request_gets_the_first_answer_and_adds_nothing(joined: TopicDriver) -> None:
    first = await joined.dispatch(new_event(), new_event(), request_id="r1")

    again = await joined.dispatch(new_event(), new_event(), request_id="r1")

    assert list(again.event_ids) == list(first.event_ids)
    assert list(again.duplicate_event_ids) == list(first.duplicate_event_ids) == []
    assert ids(await joined.lease()) == list(first.event_ids)


async def test_a_repeated_request_gets_the_duplicates_of_the_first_answer(topic: TopicDriver) -> None:
    await topic.dispatch("a")
    await topic.dispatch("a", "b", request_id="r1")

    again = await topic.dispatch("a", "b", request_id="r1")

    assert list(again.event_ids) == ["a", "b"]
    assert list(again.duplicate_event_ids) == ["a"]


async def test_a_request_can_be_repeated_within_one_call(topic: TopicDriver) -> None:
    requests = [DispatchRequest(with_ids([new_event()], topic.harness.now_us(), "r1"), "r1") for _ in range(2)]

    first, again = await topic.engine.dispatch(topic.name, requests)

    assert isinstance(first, DispatchAnswer)
    assert isinstance(again, DispatchAnswer)
    assert list(again.event_ids) == list(first.event_ids)
    assert await topic.queued() == 1


async def test_a_request_is_remembered_after_its_events_are_gone(joined: TopicDriver) -> None:
    first = await joined.dispatch(new_event(), request_id="r1")
    await joined.ack(*await joined.lease())

    again = await joined.dispatch(new_event(), request_id="r1")

    assert list(again.event_ids) == list(first.event_ids)
    assert await joined.lease() == []


@pytest.mark.topic_config(dedupe_window_us=WINDOW_US)
async def test_a_request_is_remembered_for_the_dedupe_window(harness: Harness, topic: TopicDriver) -> None:
    first = await topic.dispatch(new_event(), request_id="r1")

    await harness.advance(WINDOW_US - harness.grain_us)
    await topic.engine.expire_leases()
    again = await topic.dispatch(new_event(), request_id="r1")
    assert list(again.event_ids) == list(first.event_ids)

    await harness.advance(harness.grain_us)
    fresh = await topic.dispatch(new_event(), request_id="r1")
    assert list(fresh.event_ids) != list(first.event_ids)
    assert await topic.queued() == 2


async def test_requests_without_an_id_are_always_different(topic: TopicDriver) -> None:
    await topic.dispatch(new_event())
    await topic.dispatch(new_event())

    assert await topic.queued() == 2


async def test_request_ids_are_separate_in_each_topic(harness: Harness, topic: TopicDriver) -> None:
    other = TopicDriver(harness)

    await topic.dispatch(new_event(), request_id="r1")
    await other.dispatch(new_event(), request_id="r1")

    assert await harness.engine.queued() == 2


@pytest.mark.within_a_partition("§3.4: a request id holds within each partition")
@pytest.mark.parametrize(
    "other",
    [["a", None, "b", None], ["a", None], ["b", None, "a"], ["a", "b", None], ["a", "x", "b"], ["a", None, "B"], ["x"]],
    ids=lambda other: f"{other}",
)
async def test_a_request_id_reused_for_other_events_is_refused(joined: TopicDriver, other: list[str | None]) -> None:
    first = await joined.dispatch("a", new_event(), "b", request_id="r1")

    answer = await joined.try_dispatch(*(new_event(each) for each in other), request_id="r1")

    assert isinstance(answer, RequestIdReused)
    assert answer.violation.field == "request_id"
    assert str(answer) == "request_id: was used for a request with other events"
    assert ids(await joined.lease()) == list(first.event_ids)
    assert await joined.dispatch("a", new_event(), "b", request_id="r1") == first


@pytest.mark.within_a_partition("§3.4: a request id holds within each partition")
@pytest.mark.parametrize("other", [["k", "k", "k"], ["k", "k", ""], ["l", "k", "k"]], ids=lambda other: f"{other}")
async def test_a_request_id_reused_with_other_keys_is_refused(joined: TopicDriver, other: list[str]) -> None:
    first = await joined.dispatch(*(new_event(key=key) for key in ("k", "k", "l")), request_id="r1")

    answer = await joined.try_dispatch(*(new_event(key=key) for key in other), request_id="r1")

    assert isinstance(answer, RequestIdReused)
    assert await joined.queued() == 3
    again = await joined.dispatch(*(new_event(key=key) for key in ("k", "k", "l")), request_id="r1")
    assert list(again.event_ids) == list(first.event_ids)


async def test_a_request_id_used_twice_in_one_call_is_refused_the_second_time(topic: TopicDriver) -> None:
    def request(*events: NewEvent) -> DispatchRequest:
        return DispatchRequest(with_ids(list(events), topic.harness.now_us(), "r1"), "r1")

    requests = [request(new_event()), request(new_event(), new_event()), request(new_event())]
    first, other, again = await topic.engine.dispatch(topic.name, requests)

    assert isinstance(other, RequestIdReused)
    assert isinstance(first, DispatchAnswer)
    assert isinstance(again, DispatchAnswer)
    assert list(again.event_ids) == list(first.event_ids)
    assert await topic.queued() == 1


async def test_a_repeated_request_may_differ_in_bodies_and_due_times(topic: TopicDriver) -> None:
    """Bodies and due times are not compared: a retry may have another delay or trace."""
    first = await topic.dispatch(new_event(body=b"one", delay_us=MINUTE), request_id="r1")

    again = await topic.dispatch(new_event(body=b"other", delay_us=SECOND, max_retries=1), request_id="r1")

    assert list(again.event_ids) == list(first.event_ids)


@pytest.mark.within_a_partition("§3.4: max_queued holds within each partition")
@pytest.mark.topic_config(max_queued=1)
async def test_a_refused_request_is_not_remembered(joined: TopicDriver) -> None:
    await joined.dispatch("a")
    assert isinstance(await joined.try_dispatch("b", request_id="r1"), MaxQueuedEventsReached)
    await joined.ack(*await joined.lease())

    await joined.dispatch("b", request_id="r1")

    assert ids(await joined.lease()) == ["b"]


async def test_a_repeated_request_is_answered_after_the_subscribers_have_left(topic: TopicDriver) -> None:
    await topic.join()
    first = await topic.try_dispatch("a", request_id="r1", require_subscriber=True)
    await topic.leave()

    again = await topic.try_dispatch("a", request_id="r1", require_subscriber=True)

    assert isinstance(first, DispatchAnswer)
    assert isinstance(again, DispatchAnswer)
    assert list(again.event_ids) == ["a"]
    assert isinstance(await topic.try_dispatch("b", require_subscriber=True), NoHandlerFound)


@pytest.mark.topic_config(max_queued=1)
async def test_a_repeated_request_is_answered_although_the_topic_is_full(topic: TopicDriver) -> None:
    await topic.dispatch("a", request_id="r1")

    again = await topic.dispatch("a", request_id="r1")

    assert list(again.event_ids) == ["a"]
    assert list(again.duplicate_event_ids) == []


# --- event ids --------------------------------------------------------------------------------------------------------


async def test_the_same_id_twice_in_one_request_is_stored_once(joined: TopicDriver) -> None:
    answer = await joined.dispatch(new_event("a", body=b"first"), new_event("a", body=b"second"))

    assert list(answer.event_ids) == ["a", "a"]
    assert list(answer.duplicate_event_ids) == ["a"]
    assert (await joined.lease_one()).body == b"first"


async def test_the_same_id_in_two_requests_of_one_call_is_stored_once(joined: TopicDriver) -> None:
    requests = [DispatchRequest([new_event("a", body=b"first")]), DispatchRequest([new_event("a", body=b"second")])]

    _, second = await joined.engine.dispatch(joined.name, requests)

    assert isinstance(second, DispatchAnswer)
    assert list(second.duplicate_event_ids) == ["a"]
    assert (await joined.lease_one()).body == b"first"


async def scheduled(topic: TopicDriver) -> None:
    await topic.dispatch(new_event("a", body=b"first", delay_us=HOUR))


async def ready(topic: TopicDriver) -> None:
    await topic.dispatch(new_event("a", body=b"first"))


async def leased(topic: TopicDriver) -> None:
    await ready(topic)
    await topic.lease_one(lease_us=HOUR)


async def dead(topic: TopicDriver) -> None:
    await ready(topic)
    await topic.dead_letter(await topic.lease_one())


@pytest.mark.topic_config(dedupe_window_us=SECOND)
@pytest.mark.parametrize("given", [scheduled, ready, leased, dead])
async def test_an_id_adds_nothing_for_as_long_as_the_topic_holds_it(
    harness: Harness, joined: TopicDriver, given: object
) -> None:
    assert callable(given)
    await given(joined)
    before = await joined.group_info("a")
    await harness.advance(MINUTE)

    answer = await joined.dispatch(new_event("a", body=b"second"), "b")

    assert list(answer.event_ids) == ["a", "b"]
    assert list(answer.duplicate_event_ids) == ["a"]
    assert await joined.group_info("a") == before
    assert (await joined.engine.get_event(joined.name, "a")).body == b"first"


async def test_an_id_is_held_until_the_last_group_is_done_with_it(harness: Harness, topic: TopicDriver) -> None:
    await topic.join("one", "left")
    await topic.join("two", "right")
    await topic.dispatch("a")
    await topic.ack(await topic.lease_one("one", "left"), group="left")
    await harness.advance(HOUR)

    answer = await topic.dispatch("a")

    assert list(answer.duplicate_event_ids) == ["a"]
    assert await topic.lease("one", "left") == []


@pytest.mark.topic_config(dedupe_window_us=WINDOW_US)
async def test_an_id_is_remembered_for_the_window_after_the_event_is_gone(
    harness: Harness, joined: TopicDriver
) -> None:
    await joined.dispatch("a")
    await harness.advance(HOUR)
    await joined.ack(await joined.lease_one())

    await harness.advance(WINDOW_US - harness.grain_us)
    await joined.engine.expire_leases()
    assert list((await joined.dispatch("a")).duplicate_event_ids) == ["a"]
    assert await joined.lease() == []

    await harness.advance(harness.grain_us)
    assert list((await joined.dispatch("a")).duplicate_event_ids) == []
    assert (await joined.lease_one()).attempt == 1


@pytest.mark.topic_config(dedupe_window_us=0)
async def test_a_forgotten_request_that_gets_the_same_ids_adds_nothing(joined: TopicDriver) -> None:
    """The ids are made from the millisecond and the request id."""
    now_us = joined.harness.now_us()
    first, again = (DispatchRequest(with_ids([new_event(), new_event()], now_us, "r1"), "r1") for _ in range(2))
    (stored,) = await joined.engine.dispatch(joined.name, [first])

    (answer,) = await joined.engine.dispatch(joined.name, [again])

    assert isinstance(stored, DispatchAnswer)
    assert isinstance(answer, DispatchAnswer)
    assert list(answer.duplicate_event_ids) == list(answer.event_ids) == list(stored.event_ids)
    leases = await joined.lease()
    assert ids(leases) == list(stored.event_ids)
    assert await joined.ack(*leases) == [None, None]
    assert await joined.queued() == 0


@pytest.mark.topic_config(dedupe_window_us=0)
async def test_without_a_dedupe_window_an_id_can_be_reused_once_the_event_is_gone(joined: TopicDriver) -> None:
    await joined.dispatch("a", request_id="r1")
    await joined.ack(await joined.lease_one())

    answer = await joined.dispatch("a", request_id="r1")

    assert list(answer.duplicate_event_ids) == []
    assert ids(await joined.lease()) == ["a"]


async def test_a_generated_id_is_not_remembered(joined: TopicDriver) -> None:
    event = new_event()
    await joined.dispatch(event)
    await joined.ack(await joined.lease_one())

    answer = await joined.dispatch(event)

    assert list(answer.duplicate_event_ids) == []


async def test_event_ids_are_separate_in_each_topic(harness: Harness, topic: TopicDriver) -> None:
    other = TopicDriver(harness)

    await topic.dispatch("a")
    answer = await other.dispatch("a")

    assert list(answer.duplicate_event_ids) == []


@pytest.mark.topic_config(dedupe_window_us=WINDOW_US)
async def test_a_topic_exists_for_as_long_as_it_remembers_ids(harness: Harness, topic: TopicDriver) -> None:
    """A topic that nobody subscribed to and that holds nothing is not listed forever."""
    await topic.dispatch(new_event("a", delay_us=HOUR), request_id="r1")
    await harness.advance(2 * WINDOW_US)
    await harness.engine.expire_leases()

    assert [info.topic for info in await harness.engine.list_topics("", 10)] == [topic.name]
    assert await topic.counts("") == {EventState.SCHEDULED: 1}
