"""The local engine's sweep."""

from __future__ import annotations

import asyncio
from random import Random

import pytest
from duebus_server.domain.clock import SECOND, ManualClock
from duebus_server.domain.model import (
    DispatchRequest,
    LeasedEvent,
    LeaseRef,
    LeaseRequest,
    NackAction,
    NackRef,
    SubscriberInfo,
)
from duebus_server.domain.retry import RetryPolicy
from duebus_server.domain.states import EventState
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.engine.local.topic import Topic
from duebus_server.engine.local.topics import TOPICS_AT_ONCE
from support.builders import new_event, new_events

NOW_US = 1_795_470_958_203_782
TURNS = 10
HISTORIES, STEPS = 10, 60
CONFIG = TopicConfig(
    lease_us=2 * SECOND,
    dedupe_window_us=5 * SECOND,
    dead_letter_retention_us=4 * SECOND,
    retry_policy=RetryPolicy(max_retries=1),
)


async def test_other_tasks_run_during_a_sweep_of_many_topics() -> None:
    engine = LocalEngine(ManualClock(NOW_US), TopicConfig())
    await engine.start()
    for number in range(TURNS * TOPICS_AT_ONCE):
        await engine.join(f"topic-{number}", "default", SubscriberInfo("session", "", NOW_US))

    sweep = asyncio.create_task(engine.expire_leases())
    turns = 0
    while not sweep.done():
        await asyncio.sleep(0)
        turns += 1

    assert turns > TURNS
    await sweep


async def test_a_sweep_checks_no_topic_in_which_nothing_can_have_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock(NOW_US)
    engine = LocalEngine(clock, TopicConfig())
    await engine.start()
    for name, delay_us in (("idle", 60 * SECOND), ("soon", 10 * SECOND), ("used", 60 * SECOND)):
        await engine.dispatch(name, [DispatchRequest([new_event("event", delay_us=delay_us)])])
    await engine.expire_leases()
    checked: list[str] = []
    forget = Topic.forget

    def noted(topic: Topic, now_us: int) -> None:
        checked.append(topic.name)
        forget(topic, now_us)

    monkeypatch.setattr(Topic, "forget", noted)

    await engine.expire_leases()
    assert not checked

    clock.advance(10 * SECOND)
    await engine.get_topic("idle")  # only looks
    await engine.dispatch("used", [DispatchRequest([new_event("another", delay_us=60 * SECOND)])])
    await engine.expire_leases()
    assert sorted(checked) == ["soon", "used"]
    await engine.stop()


async def test_a_topic_goes_although_a_sweep_checked_it_while_its_group_was_released() -> None:
    engine = LocalEngine(ManualClock(NOW_US), TopicConfig())
    await engine.start()
    await engine.join("topic", "default", SubscriberInfo("session", "", NOW_US))
    await engine.dispatch("topic", [DispatchRequest(new_events(5_000, delay_us=60 * SECOND))])

    deleting = asyncio.create_task(engine.delete_group("topic", "default"))
    await asyncio.sleep(0)
    sweeping = asyncio.create_task(engine.expire_leases())
    await asyncio.sleep(0)
    assert not deleting.done()
    await asyncio.gather(deleting, sweeping)

    await engine.expire_leases()
    assert not list(engine._topics)
    await engine.stop()


class Driven:
    """An engine with two topics, driven by steps.

    Args:
        checks_all: each sweep checks every topic.
    """

    def __init__(self, *, checks_all: bool) -> None:
        self.clock = ManualClock(NOW_US)
        self.engine = LocalEngine(self.clock, CONFIG)
        self._checks_all = checks_all
        self._leased: dict[str, list[LeasedEvent]] = {}
        self._number = 0

    async def step(self, verb: str, topic: str, number: int) -> None:
        """One step; ``number`` is a time in seconds. Does nothing if the step is not possible."""
        leased = self._leased.setdefault(topic, [])
        if verb == "pass":
            self.clock.advance(number * SECOND)
        elif verb in ("dispatch", "host time"):
            await self._dispatch(verb, topic, number)
        elif verb in ("join", "leave", "delete"):
            await self._change_group(verb, topic)
        elif verb == "lease" and self._has_session(topic):
            leased += (await self.engine.lease(topic, "default", "session", LeaseRequest(2, 1 << 20))).events
        elif verb in SETTLES and leased:
            one = leased.pop()
            await self._settle(verb, topic, LeaseRef(one.event_id, one.fencing_token), number)

    async def _dispatch(self, verb: str, topic: str, number: int) -> None:
        self._number += 1
        name = f"event-{self._number}"
        if verb == "host time":
            event = new_event(name, deliver_at_us=self.clock.host_us() + number * SECOND)
        else:
            event = new_event(name, delay_us=number * SECOND, key="key" if number == 1 else "")
        await self.engine.dispatch(topic, [DispatchRequest([event], request_id=name)])

    async def _change_group(self, verb: str, topic: str) -> None:
        if verb == "join":
            await self.engine.join(topic, "default", SubscriberInfo("session", "", NOW_US))
        elif verb == "leave":
            await self.engine.leave(topic, "default", "session")
        elif self._has_session(topic):
            await self.engine.delete_group(topic, "default")

    async def _settle(self, verb: str, topic: str, ref: LeaseRef, number: int) -> None:
        if verb == "ack":
            await self.engine.ack(topic, "default", [ref])
        elif verb == "nack":
            await self.engine.nack(topic, "default", [NackRef(ref, NackAction.RETRY, number * SECOND)])
        elif verb == "dead letter":
            await self.engine.nack(topic, "default", [NackRef(ref, NackAction.DEAD_LETTER)])
        else:
            await self.engine.extend(topic, "default", [ref], number * SECOND)

    def _has_session(self, topic: str) -> bool:
        return any(
            "session" in group.sessions
            for one in self.engine._topics
            if one.name == topic
            for group in one.groups.values()
        )

    async def sweep(self) -> None:
        """One sweep."""
        if self._checks_all:
            for topic in list(self.engine._topics):
                self.engine._topics.find(topic.name)
        await self.engine.expire_leases()

    def state(self) -> dict[str, object]:
        """What is in memory, as it is."""
        return {
            topic.name: (
                len(topic._recent_ids),
                len(topic._answers),
                {group.name: [group.indexes.count(state) for state in EventState] for group in topic.all_groups()},
            )
            for topic in self.engine._topics
        }


SETTLES = ("ack", "nack", "dead letter", "extend")
VERBS = ("dispatch", "dispatch", "host time", "join", "leave", "lease", "lease", *SETTLES, "delete", "pass", "pass")


@pytest.mark.parametrize("seed", range(20))
async def test_a_sweep_does_the_same_as_one_that_checks_every_topic(seed: int) -> None:
    random = Random(seed)
    for _ in range(HISTORIES):
        one, naive = Driven(checks_all=False), Driven(checks_all=True)
        for driven in (one, naive):
            await driven.engine.start()
            await driven.step("join", "a", 0)
        for _ in range(STEPS):
            step = (random.choice(VERBS), random.choice("ab"), random.randrange(7))
            for driven in (one, naive):
                await driven.step(*step)
                await driven.sweep()
            assert one.state() == naive.state()
            assert len(one.engine._topics.sweeps._waiting) <= len(one.state())
        for driven in (one, naive):
            await driven.engine.stop()
