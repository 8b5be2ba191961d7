"""Builds with different layouts on one Redis: side by side, upgrades and rollbacks, and unreadable layouts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.replicas import presence
from duebus_server.engine.redis.replicas.layouts import LAYOUT
from support import layout_dump
from support.redis_bus import RedisBus, Replica, redis_bus, until
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.engine.redis import PartitionedEngine
    from support.redis_server import RedisServer


def layout_of(bus: RedisBus) -> int:
    return int(bus.raw.get(f"{bus.namespace}:layout"))


def written_by(replica: Replica) -> int:
    return replica.engine._engine._layouts.written


async def refusal(engine: PartitionedEngine) -> str:
    """The error of a start that is refused."""
    with pytest.raises(DispatcherNotWorking) as raised:
        await engine.start()
    assert "\n" not in str(raised.value)
    return str(raised.value)


@pytest.fixture(autouse=True)
def frequent_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make heartbeats frequent."""
    monkeypatch.setattr(presence, "BEAT_US", 20_000)


async def test_the_first_replica_notes_the_layout(bus: RedisBus) -> None:
    await bus.replica()
    assert layout_of(bus) == 1


async def test_two_builds_side_by_side_write_the_older_layout_and_read_each_others_events(bus: RedisBus) -> None:
    old = await bus.replica(layout=1)
    new = await bus.replica(layout=2)
    assert (layout_of(bus), written_by(old), written_by(new)) == (1, 1, 1)
    through_old = old.topic()
    through_new = new.topic(through_old.name)
    await through_old.join("old")
    await through_new.join("new")
    await through_new.dispatch("from the new one")
    await through_old.dispatch("from the old one")
    assert ids(await through_old.lease("old", max_events=1)) == ["from the new one"]
    assert ids(await through_new.lease("new", max_events=1)) == ["from the old one"]


async def test_a_rollback_before_all_read_the_newer_layout_loses_nothing(bus: RedisBus) -> None:
    old = await bus.replica(layout=1)
    new = await bus.replica(layout=2)
    topic = new.topic()
    await topic.join()
    await topic.dispatch("event")
    await new.engine.stop()
    back = old.topic(topic.name)
    await back.join()
    assert ids(await back.lease()) == ["event"]
    again = await bus.replica(layout=1)
    assert (layout_of(bus), written_by(again)) == (1, 1)


async def test_the_newer_layout_is_written_when_the_last_older_replica_is_gone(bus: RedisBus) -> None:
    old, other = await bus.replica(layout=1), await bus.replica(layout=1)
    new = await bus.replica(layout=2)
    await old.engine.stop()
    beats = bus.raw.info("commandstats")["cmdstat_evalsha"]["calls"]
    await until(lambda: bus.raw.info("commandstats")["cmdstat_evalsha"]["calls"] > beats + 4, "a few heartbeats")
    assert layout_of(bus) == 1, "one of them still runs"
    await other.engine.stop()
    await until(lambda: layout_of(bus) == written_by(new) == 2, "the newer layout")
    assert await refusal(bus.make(layout=1)) == (
        f"engine redis: {bus.namespace}:layout is 2, and this build reads layouts up to 1: start a newer build"
    )


async def test_builds_three_layouts_apart_never_run_together(bus: RedisBus) -> None:
    await bus.replica(layout=1)
    assert await refusal(bus.make(layout=3)) == (
        f"engine redis: {bus.namespace}:layout is 1, and this build reads layouts from 2 on: "
        "start a build of layout 2 first"
    )


async def test_a_replica_that_missed_a_new_layout_stops_working(bus: RedisBus) -> None:
    old = await bus.replica(layout=1)
    bus.raw.set(f"{bus.namespace}:layout", 2)

    def refuses() -> bool:
        try:
            old.engine._engine.check_started()
        except DispatcherNotWorking as error:
            return "this build reads layouts up to 1" in str(error)
        return False

    await until(refuses, "its next heartbeat")
    with pytest.raises(DispatcherNotWorking, match="start a newer build"):
        await old.topic().dispatch("event")
    with pytest.raises(DispatcherNotWorking, match="start a newer build"):
        await old.engine.check()


async def test_a_lost_layout_number_is_restored(bus: RedisBus) -> None:
    await bus.replica(layout=1)
    new = await bus.replica(layout=2)
    bus.raw.delete(f"{bus.namespace}:layout")
    await until(lambda: bus.raw.exists(f"{bus.namespace}:layout"), "a heartbeat")
    assert (layout_of(bus), written_by(new)) == (1, 1)


async def test_data_of_a_build_without_layouts_is_refused(bus: RedisBus) -> None:
    bus.raw.set(f"{bus.namespace}:secret", b"s" * 32)
    assert await refusal(bus.make()) == (
        f"engine redis: namespace '{bus.namespace}' was written by a build from before 0.1.0, which this one does not "
        "read: let that build deliver what is left, or choose another --namespace"
    )
    assert bus.stored_keys() == {"secret"}


async def test_a_build_from_before_layouts_does_not_start_on_what_this_one_writes(bus: RedisBus) -> None:
    """Such a build refuses a secret that does not have 32 bytes."""
    await bus.replica()
    assert len(bus.raw.get(f"{bus.namespace}:secret")) != 32


async def test_a_layout_that_is_not_a_number_is_refused(bus: RedisBus) -> None:
    bus.raw.set(f"{bus.namespace}:layout", "newest")
    assert "holds something other than the number of a layout" in await refusal(bus.make())


# --- released layouts -------------------------------------------------------------------------------------------------


async def test_this_build_writes_the_layout_of_its_number(start_redis: Callable[..., RedisServer]) -> None:
    """If this fails, the stored data has changed: read ``Layouts`` in DATA_MODEL.md. Before the first release, write a
    new dump."""
    assert await layout_dump.dump_of_this_build(start_redis().url) == layout_dump.read(LAYOUT)


@pytest.mark.parametrize("layout", range(max(1, LAYOUT - 1), LAYOUT + 1))
async def test_released_layouts_are_read(start_redis: Callable[..., RedisServer], layout: int) -> None:
    async with redis_bus(start_redis().url, frozen=True) as bus:
        bus.namespace = layout_dump.NAMESPACE
        layout_dump.load(bus, layout_dump.read(layout))
        replica = await bus.replica()
        assert [info.topic for info in await replica.engine.list_topics("", 10)] == ["plain", "spread", "unclaimed"]
        plain, spread, unclaimed = map(replica.topic, ("plain", "spread", "unclaimed"))
        assert [await plain.state(name, "one") for name in ("acked", "dead", "leased", "nacked", "ready")] == [
            None, EventState.DEAD, EventState.LEASED, EventState.SCHEDULED, EventState.READY,
        ]  # fmt: skip
        assert (await plain.group_info("nacked", "one")).last_error == "a reason"
        assert [(await plain.group(name)).paused for name in ("one", "other")] == [False, True]
        assert (await plain.dispatch("leased", request_id="another request")).duplicate_event_ids == ["leased"]
        assert (await spread.dispatch("chosen 1", request_id="another")).duplicate_event_ids == ["chosen 1"]
        await replica.advance(2 * HOUR)
        of_key = ["of a key 0", "of a key 1", "of a key, later"]
        left = {
            "leased", "nacked", "ready", "retried seven times", "scheduled", "patient", "urgent, later",
            "019b76da-a800-7005-8003-141fc53a2408",
        }  # fmt: skip
        for topic, group, names in (
            (plain, "one", left),
            (plain, "other", left | {"acked", "dead"}),
            (spread, "one", {f"chosen {number}" for number in range(4)}),
            (unclaimed, "first", {"waits for a group"}),
        ):
            await topic.join(group=group)
            if group == "other":
                await topic.resume(group)
            first, *others = of_key if topic is plain else [""]
            for expected in (names | {first} - {""}, *({each} for each in others)):
                held = await topic.lease_all(group=group)
                assert set(ids(held)) == expected
                assert await topic.ack(*held, group=group) == [None] * len(expected)
            assert await topic.counts(group) == ({EventState.DEAD: 1} if group == "one" and topic is plain else {})
