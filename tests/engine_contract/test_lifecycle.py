"""An engine works between ``start`` and ``stop``, and raises before and after."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.actions import Action
from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, DuplicateInitialized
from duebus_server.domain.model import DEFAULT_GROUP, LeaseRef
from duebus_server.domain.schedules import Firing, ScheduleRecord
from duebus_server.domain.states import EventState
from duebus_server.engine.base import Engine
from support.harnesses import ENGINES
from support.topics import WORKER, TopicDriver

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.engines import Harness

SOME_LEASE = LeaseRef("event", 1)
SOME_ACTION = Action(1, "operator", "ipv4:127.0.0.1:1", "PauseGroup", "topic", "group", "", "OK")

VERBS: dict[str, Callable[[TopicDriver], Awaitable[object]]] = {
    "dispatch": lambda topic: topic.dispatch("event"),
    "lease": lambda topic: topic.lease(),
    "ack": lambda topic: topic.ack(SOME_LEASE),
    "nack": lambda topic: topic.nack(SOME_LEASE),
    "extend": lambda topic: topic.extend(SOME_LEASE),
    "shorten": lambda topic: topic.shorten(SECOND),
    "expire_leases": lambda topic: topic.engine.expire_leases(),
    "backlog": lambda topic: topic.engine.backlog(topic.name, DEFAULT_GROUP),
    "work": lambda topic: topic.engine.work([(topic.name, DEFAULT_GROUP)]),
    "join": lambda topic: topic.join(),
    "adopt": lambda topic: topic.adopt(WORKER, SOME_LEASE),
    "check": lambda topic: topic.engine.check(),
    "describe": lambda topic: topic.engine.describe(),
    "keep_action": lambda topic: topic.engine.keep_action(SOME_ACTION),
    "actions": lambda topic: topic.engine.actions(),
    "queued": lambda topic: topic.engine.queued(),
    "config_of": lambda topic: topic.engine.config_of(topic.name),
    "list_topics": lambda topic: topic.engine.list_topics("", 10),
    "get_topic": lambda topic: topic.engine.get_topic(topic.name),
    "minutes": lambda topic: topic.engine.minutes(topic.name),
    "list_events": lambda topic: topic.page(EventState.READY, 10),
    "list_keys": lambda topic: topic.keys(),
    "get_event": lambda topic: topic.engine.get_event(topic.name, "event"),
    "configure_topic": lambda topic: topic.configure(max_queued=1),
    "configure_group": lambda topic: topic.configure_group(max_retries=1),
    "delete_topic": lambda topic: topic.delete(),
    "delete_group": lambda topic: topic.delete_group(),
    "pause_group": lambda topic: topic.pause(),
    "resume_group": lambda topic: topic.resume(),
    "cancel": lambda topic: topic.cancel("event"),
    "reschedule": lambda topic: topic.reschedule("event", delay_us=SECOND),
    "redrive": lambda topic: topic.redrive(),
    "purge": lambda topic: topic.purge(),
    "save_schedule": lambda topic: topic.engine.save_schedule(ScheduleRecord("schedule", topic.name, "", b""), 0, 1),
    "get_schedule": lambda topic: topic.engine.get_schedule("schedule"),
    "list_schedules": lambda topic: topic.engine.list_schedules("", 10),
    "delete_schedule": lambda topic: topic.engine.delete_schedule("schedule"),
    "due_schedules": lambda topic: topic.engine.due_schedules(10),
    "fire_schedules": lambda topic: topic.engine.fire_schedules(
        [Firing(ScheduleRecord("schedule", topic.name, "", b""), 0, None)]
    ),
}


def test_every_verb_is_covered_by_these_tests() -> None:
    verbs = {name for name, _ in inspect.getmembers(Engine, inspect.iscoroutinefunction)}
    assert verbs - {"start", "stop", "leave"} == set(VERBS)


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_fails_before_the_start(harness: Harness, verb: str) -> None:
    topic = TopicDriver(harness, harness.unstarted())

    with pytest.raises(DispatcherNotWorking):
        await VERBS[verb](topic)


@pytest.mark.parametrize("verb", VERBS)
async def test_every_verb_fails_after_the_stop(joined: TopicDriver, verb: str) -> None:
    await joined.dispatch("event")

    await joined.engine.stop()

    with pytest.raises(DispatcherNotWorking):
        await VERBS[verb](joined)


async def test_a_session_can_leave_after_the_stop(harness: Harness, joined: TopicDriver) -> None:
    await joined.engine.stop()
    await joined.leave()

    await TopicDriver(harness, harness.unstarted()).leave()


async def test_starting_twice_is_refused_and_the_engine_keeps_working(joined: TopicDriver) -> None:
    await joined.dispatch("event")

    with pytest.raises(DuplicateInitialized):
        await joined.engine.start()

    assert (await joined.lease_one()).event_id == "event"


async def test_an_engine_that_was_stopped_can_be_started_again(joined: TopicDriver) -> None:
    await joined.engine.stop()

    await joined.engine.start()

    await joined.join()
    await joined.dispatch("event")
    assert (await joined.lease_one()).event_id == "event"


async def test_stopping_is_harmless_before_the_start_and_after_the_stop(harness: Harness) -> None:
    engine = harness.unstarted()
    await engine.stop()

    await engine.start()
    await engine.stop()
    await engine.stop()

    with pytest.raises(DispatcherNotWorking):
        await engine.queued()


async def test_the_engine_knows_its_name(harness: Harness, request: pytest.FixtureRequest) -> None:
    assert harness.engine.name in ENGINES
    assert harness.engine.name == {"partitioned": "redis", "journal": "local"}.get(
        request.node.callspec.params["harness"], request.node.callspec.params["harness"]
    )


async def test_the_clock_never_goes_back(harness: Harness) -> None:
    before_us = harness.now_us()

    await harness.advance(SECOND)

    assert harness.near(before_us + SECOND)(harness.now_us())


async def test_the_key_of_lease_tokens_is_long_and_does_not_change(harness: Harness) -> None:
    key = harness.engine.lease_token_key

    assert len(key) >= 16
    assert harness.engine.lease_token_key == key
