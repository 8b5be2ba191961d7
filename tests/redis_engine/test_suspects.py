"""Suspects and stalled streams where a session, its worker's calls and its end are on different replicas."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import SECOND
from support.builders import unique_name
from support.redis_app import app_on
from support.wire import duration, event, ids, tokens

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.redis_bus import RedisBus
    from support.topics import TopicDriver
    from support.wire import Wire


@pytest.fixture
async def replica_a(frozen_bus: RedisBus) -> TopicDriver:
    """A topic through replica a, with a session."""
    driver = (await frozen_bus.replica()).topic()
    await driver.join("session a")
    return driver


@pytest.fixture
async def replica_b(frozen_bus: RedisBus, replica_a: TopicDriver) -> TopicDriver:
    """The same topic through replica b, with another session."""
    driver = (await frozen_bus.replica()).topic(replica_a.name)
    await driver.join("session b")
    return driver


@pytest.fixture
async def pair(bus: RedisBus) -> AsyncIterator[tuple[Wire, Wire]]:
    """Two servers of one bus."""
    async with app_on(bus) as one, app_on(bus) as other:
        yield one, other


async def topic_with_two_suspects(wire: Wire) -> str:
    """A topic with two events whose workers have vanished twice."""
    topic = unique_name()
    await wire.dispatch(topic, "suspect 1", "suspect 2")
    for _ in range(2):
        vanished = await wire.subscribe(topic, disconnect_grace=0)
        await vanished.take(2)
        await vanished.cancel()
        await wire.until_subscribers(topic, 0)
    return topic


async def test_a_session_is_told_that_another_replica_extended_its_lease(
    replica_a: TopicDriver, replica_b: TopicDriver
) -> None:
    await replica_a.dispatch("event")
    lease = await replica_a.lease_one("session a")

    await replica_b.extend(lease)

    recorder = replica_a.harness.recorder
    await recorder.until(lambda: recorder.extended == ["session a"], "that its lease was extended")
    assert replica_b.harness.recorder.extended == []


async def test_a_session_is_told_that_another_replica_expired_its_lease(
    replica_a: TopicDriver, replica_b: TopicDriver
) -> None:
    await replica_a.dispatch("event")
    lease = await replica_a.lease_one("session a", lease_us=SECOND)
    await replica_a.harness.advance(SECOND)

    await replica_b.lease("session b")

    recorder = replica_a.harness.recorder
    await recorder.until(lambda: recorder.ran_out["session a"] == [lease.fencing_token], "that its lease ran out")


async def test_a_suspect_returns_to_the_server_whose_worker_can_take_it(pair: tuple[Wire, Wire]) -> None:
    replica_a, replica_b = pair
    topic = await topic_with_two_suspects(replica_a)
    one, other = await replica_a.subscribe(topic), await replica_b.subscribe(topic)
    first, second = await one.one(), await other.one()
    assert {first.event.id, second.event.id} == {"suspect 1", "suspect 2"}

    await replica_a.nack(second, delay=duration(0.3))

    again = await other.one()
    assert again.event.id == second.event.id
    await replica_b.dispatch(topic, event("innocent"))
    assert await replica_a.ack(first, again) == []


async def test_a_worker_that_moves_to_another_server_keeps_its_suspect_and_gets_no_other(
    pair: tuple[Wire, Wire],
) -> None:
    replica_a, replica_b = pair
    topic = await topic_with_two_suspects(replica_a)
    old = await replica_a.subscribe(topic, disconnect_grace=30)
    held = await old.take(1)
    await old.cancel()

    new = await replica_b.subscribe(topic, held_lease_tokens=tokens(held))
    await replica_b.dispatch(topic, "innocent 1", "innocent 2")

    assert ids(await new.take(2)) == ["innocent 1", "innocent 2"]
    assert await replica_a.ack(*held) == []
    assert (await new.one()).event.id == "suspect 2"
