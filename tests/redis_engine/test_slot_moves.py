"""A cluster slot moves to another node: no script runs on part of a topic's keys, and no event is lost."""

from __future__ import annotations

import asyncio
import re
import subprocess
from typing import TYPE_CHECKING

import pytest
import redis
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import DEFAULT_GROUP
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.transport import clients
from duebus_server.engine.redis.transport.clients import SlotMovingError
from duebus_server.engine.redis.transport.scripts import Script
from support.builders import new_events
from support.redis_bus import RedisBus, Replica
from support.redis_cluster import MovingSlot
from support.scripts import SCRIPTS, SOURCES
from support.wire import figure

if TYPE_CHECKING:
    from support.redis_server import RedisServer
    from support.topics import TopicDriver

OF_TOPICS = sorted(name for name, source in SOURCES.items() if "\n-- KEYS     topic" in source)


def test_every_script_declares_its_keys() -> None:
    for name in SCRIPTS:
        assert re.search(r"^-- KEYS(\[1\] | {4}) \w", SOURCES[name], re.MULTILINE), name


@pytest.fixture
async def topic_with_events(cluster_bus: RedisBus) -> TopicDriver:
    """A topic with events in every state, in two groups."""
    topic = (await cluster_bus.replica()).topic()
    await topic.join()
    await topic.join("other session", "other")
    await topic.dispatch(*new_events(4), "chosen", request_id="a request")
    held = await topic.lease(max_events=4)
    await topic.ack(held[0])
    await topic.dead_letter(held[1])
    return topic


@pytest.fixture
def moving_slot(topic_with_events: TopicDriver, cluster: list[RedisServer], cluster_bus: RedisBus) -> MovingSlot:
    """The topic's slot, of which every second key has been moved."""
    slot = MovingSlot(cluster, cluster_bus.key(topic_with_events.name, "events"))
    slot.begin()
    for key in slot.unmoved()[::2]:
        slot.move(key)
    return slot


@pytest.fixture
def without_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands do not wait until a slot is moved."""
    monkeypatch.setattr(clients, "SLOT_TIMEOUT_S", 0.02)


@pytest.mark.usefixtures("without_wait")
async def test_no_script_runs_on_part_of_a_topic(
    topic_with_events: TopicDriver, moving_slot: MovingSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = topic_with_events.harness
    assert isinstance(replica, Replica)
    before = moving_slot.contents()
    for name in OF_TOPICS:
        with pytest.raises(DispatcherNotWorking, match="a slot of the Redis cluster is being moved") as raised:
            await replica.engine._engine._runner.run(Script(name), Partition(topic_with_events.name), DEFAULT_GROUP)
        assert isinstance(raised.value.__cause__, SlotMovingError)
        assert moving_slot.contents() == before, name
    moving_slot.end()
    monkeypatch.undo()
    assert await topic_with_events.queued() == 5, "one is acked in one group only"


@pytest.mark.usefixtures("without_wait")
async def test_a_sweep_does_not_consider_a_group_deleted_whose_slot_is_moving(
    topic_with_events: TopicDriver, moving_slot: MovingSlot, monkeypatch: pytest.MonkeyPatch
) -> None:
    await topic_with_events.engine.expire_leases()
    assert topic_with_events.harness.recorder.deletions == []
    moving_slot.end()
    monkeypatch.undo()
    assert len(await topic_with_events.lease(group="other", session="other session")) == 5


async def test_calls_wait_until_the_slot_is_moved(topic_with_events: TopicDriver, moving_slot: MovingSlot) -> None:
    waiting = asyncio.create_task(topic_with_events.dispatch("meanwhile"))
    await asyncio.sleep(0.2)  # a few tries
    assert not waiting.done()
    moving_slot.end()
    await waiting
    assert await topic_with_events.queued() == 6


async def test_a_slot_that_is_moved_key_by_key_loses_no_event(
    cluster_bus: RedisBus, cluster: list[RedisServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clients, "SLOT_TIMEOUT_S", 0.05)
    topic = (await cluster_bus.replica()).topic()
    await topic.join()
    answered: list[str] = []
    refused = 0

    async def dispatch(count: int) -> None:
        nonlocal refused
        for _ in range(count):
            try:
                answered.extend((await topic.dispatch(*new_events(2))).event_ids)
            except DispatcherNotWorking:
                refused += 1
            try:
                await topic.queued()
            except DispatcherNotWorking:
                refused += 1

    await dispatch(5)
    slot = MovingSlot(cluster, cluster_bus.key(topic.name, "events"))
    slot.begin()
    for key in slot.unmoved():
        slot.move(key)
        await dispatch(1)
    slot.end()
    await dispatch(5)
    assert refused
    held = [event.event_id for event in await topic.lease_all()]
    assert set(answered) <= set(held)
    assert await topic.queued() == len(held), "nothing is stored in part"


def id_of(node: RedisServer) -> str:
    with redis.Redis.from_url(node.url) as client:
        return str(client.execute_command("CLUSTER MYID").decode())


async def test_a_cluster_that_is_resharded_under_load_loses_no_event(
    cluster_bus: RedisBus, cluster: list[RedisServer]
) -> None:
    """All but a few slots of the first node move to the second."""
    replica = await cluster_bus.replica()
    topics = [replica.topic() for _ in range(8)]
    for topic in topics:
        await topic.join()
    done = asyncio.Event()
    answered: dict[str, set[str]] = {topic.name: set() for topic in topics}
    acked: dict[str, set[str]] = {topic.name: set() for topic in topics}
    gaps = []
    loop = asyncio.get_running_loop()

    async def load(topic: TopicDriver) -> None:
        last_s = loop.time()
        while not done.is_set():
            try:
                answered[topic.name].update((await topic.dispatch(*new_events(3))).event_ids)
                gaps.append(loop.time() - last_s)
                last_s = loop.time()
                held = await topic.lease()
                results = await topic.ack(*held)
                acked[topic.name].update(
                    event.event_id for event, result in zip(held, results, strict=True) if result is None
                )
            except DispatcherNotWorking:
                continue

    under_load = [asyncio.create_task(load(topic)) for topic in topics]
    reshard = ["redis-cli", "--cluster", "reshard", f"127.0.0.1:{cluster[0].port}", "--cluster-yes"]
    source, target = map(id_of, cluster[:2])
    where = ["--cluster-from", source, "--cluster-to", target, "--cluster-slots", "3000"]
    resharding = await asyncio.create_subprocess_exec(*reshard, *where, stdout=subprocess.DEVNULL)
    assert await resharding.wait() == 0
    done.set()
    await asyncio.gather(*under_load)
    for topic in topics:
        left = {event.event_id for event in await topic.lease_all()}
        assert answered[topic.name] <= acked[topic.name] | left
        assert await topic.queued() == sum((await topic.counts()).values())
    figure(f"resharded under load: {sum(map(len, answered.values()))} events, at most {max(gaps):.2f} s between two")
