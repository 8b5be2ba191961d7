"""What is stored in Redis, how much memory it takes, and that nothing is left behind."""

from __future__ import annotations

from dataclasses import replace
from unittest.mock import AsyncMock

import pytest
from duebus_server.domain.clock import HOUR, MILLISECOND, SECOND
from duebus_server.domain.model import DEFAULT_GROUP, DispatchRequest, LeasedEvent, LeaseFailureReason
from duebus_server.domain.states import EventState
from duebus_server.domain.views import TopicConfig
from support.builders import new_event, new_events
from support.redis_bus import RedisBus, Replica, redis_bus, until
from support.redis_server import RedisServer
from support.topics import TopicDriver, ids, with_ids
from support.wire import figure

STAY_WITH_THE_BUS = {"topics", "secret", "layout"}


def stay_with(topic: TopicDriver, *groups: str) -> set[str]:
    """The keys of a topic that stay until it is deleted."""
    own = {f"group:{group}:group" for group in groups} | {"groups", "meta"}
    return {f"{{{topic.name}}}:{key}" for key in own}


def without_figures(keys: set[str]) -> set[str]:
    return {key for key in keys if not key.endswith((":rates", ":minutes"))}


def stored_bytes(bus: RedisBus) -> int:
    """The memory of the keys, counting every element. Buffers of connections and scripts, which vary, are excluded."""
    return sum(bus.raw.memory_usage(f"{bus.namespace}:{key}", samples=0) for key in bus.stored_keys())


async def test_the_payload_is_stored_once_however_many_groups_there_are(bus: RedisBus, topic: TopicDriver) -> None:
    payload = b"p" * 50_000
    for group in ("one", "two", "three", "four"):
        await topic.join(group=group)
    await topic.dispatch(new_event("event", body=payload))
    assert len(payload) < stored_bytes(bus) < 1.4 * len(payload)


async def test_nothing_remains_of_events_that_are_done(bus: RedisBus, replica: Replica, topic: TopicDriver) -> None:
    await topic.join(group="one")
    await topic.join(group="two")
    await topic.dispatch(*new_events(30), *new_events(3, delay_us=20 * MILLISECOND), request_id="")
    for group in ("one", "two"):
        held: list[LeasedEvent] = []
        while len(held) < 33:
            held += await topic.lease(group=group)
        assert await topic.nack(*held[:10], delay_us=0, group=group) == [None] * 10
        held[:10] = await topic.lease(group=group)
        assert await topic.ack(*held, group=group) == [None] * 33
        await topic.leave(group=group)
    await replica.engine.stop()

    assert without_figures(bus.stored_keys()) == STAY_WITH_THE_BUS | stay_with(topic, "one", "two")
    assert bus.raw.hgetall(bus.key(topic.name, "meta")) == {b"places": b"33"}


AS_PACKED_WHOLE = "return cmsgpack.pack(cmsgpack.unpack(ARGV[1])) == ARGV[1] and #cmsgpack.unpack(ARGV[1]) or -1"


async def test_records_are_arrays_of_messagepack_however_often_an_event_was_leased(
    bus: RedisBus, topic: TopicDriver
) -> None:
    await topic.join(consumer="a worker")
    await topic.dispatch("chosen", new_event(), new_event("own", max_retries=7), new_event("other", max_retries=300))
    (again, *_) = await topic.lease(max_events=1)
    await topic.nack(again, delay_us=0, error="why")
    await topic.lease_all()
    records = bus.raw.hvals(bus.key(topic.name, "group:default:records"))
    assert [bus.raw.eval(AS_PACKED_WHOLE, 0, record) for record in records] == [14] * 4
    stories = [await topic.group_info(name) for name in ("chosen", "own", "other")]
    assert [(story.consumer, story.attempts, story.max_retries) for story in stories] == [
        ("a worker", 2, 3), ("a worker", 1, 7), ("a worker", 1, 300),
    ]  # fmt: skip


async def test_a_lease_is_found_in_a_record_of_another_encoding(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.join()
    await topic.dispatch("event", "stale")
    held, stale = await topic.lease()
    key = bus.key(topic.name, "group:default:records")
    for name in ("event", "stale"):
        record = bus.raw.hget(key, name)
        assert record[10] == 0xA4, "the place, a text of four bytes"
        bus.raw.hset(key, name, record[:10] + b"\xd9\x04" + record[11:])
    before = replace(stale, fencing_token=stale.fencing_token - 1)
    assert await topic.ack(held, before) == [None, LeaseFailureReason.EXPIRED]
    assert await topic.counts() == {EventState.LEASED: 1}


async def test_rates_are_kept_for_eighty_seconds(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.join()
    await topic.dispatch("event")
    await topic.ack(await topic.lease_one())
    rates = [key for key in bus.stored_keys() if key.endswith(":rates")]
    assert rates
    for key in rates:
        assert 70 < bus.raw.ttl(f"{bus.namespace}:{key}") <= 80


@pytest.fixture
def short_memory(bus: RedisBus) -> TopicConfig:
    return replace(TopicConfig(), dedupe_window_us=300 * MILLISECOND)


async def test_remembered_ids_are_removed_after_the_dedupe_window(bus: RedisBus, short_memory: TopicConfig) -> None:
    topic = (await bus.replica(config=short_memory)).topic()
    await topic.join()
    await topic.dispatch("chosen", request_id="a request")
    await topic.ack(await topic.lease_one())
    assert bus.raw.exists(bus.key(topic.name, "requests"), bus.key(topic.name, "recent")) == 2
    await until(
        lambda: bus.raw.exists(bus.key(topic.name, "requests"), bus.key(topic.name, "recent")) == 0,
        "both to be forgotten",
    )
    assert (await topic.dispatch("chosen", request_id="a request")).duplicate_event_ids == []


async def test_expired_dead_letters_leave_nothing(bus: RedisBus) -> None:
    config = replace(TopicConfig(), dead_letter_retention_us=MILLISECOND)
    replica = await bus.replica(config=config)
    topic = replica.topic()
    await topic.join()
    await topic.dispatch(*new_events(5))
    await topic.dead_letter(*await topic.lease())
    await topic.leave()
    while await topic.counts():
        await replica.engine.expire_leases()
    left = {key for key in without_figures(bus.stored_keys()) if topic.name in key}
    assert left == stay_with(topic, DEFAULT_GROUP)


async def test_memory_returns_to_where_it_was() -> None:
    server = RedisServer()
    try:
        async with redis_bus(server.url) as bus:
            topic = (await bus.replica()).topic()
            await topic.join()

            async def work() -> None:
                for _ in range(5):
                    await topic.dispatch(*(new_event(body=b"b" * 1000) for _ in range(1000)))
                while held := await topic.lease(max_events=1000):
                    await topic.ack(*held)

            def used() -> int:
                return int(bus.raw.info("memory")["used_memory"])

            await work()  # from here on, scripts, connections and the topic exist
            before = used()
            await work()
            after = used()
            figure(f"used memory: {before:,} bytes before 5,000 events of 1,000 bytes, {after:,} when they were done")
            assert after - before < 150_000
    finally:
        server.close()


async def test_a_scheduled_event_of_200_bytes_costs_little_more() -> None:
    # The allocator rounds up what holds an event's bytes to 256, as it does for a payload of 180 to 210.
    server = RedisServer()
    count = 16_000  # so many nearly fill the hash tables, as a million events do
    try:
        async with redis_bus(server.url) as bus:
            topic = (await bus.replica()).topic()
            await topic.join()
            await topic.dispatch("first", origin="ipv4:127.0.0.1:50000")
            before = stored_bytes(bus)
            for _ in range(count // 1000):
                later = (new_event(body=b"b" * 203, delay_us=HOUR) for _ in range(1000))  # as data is a field of it
                await topic.dispatch(*later, origin="ipv4:127.0.0.1:50000")
            each = (stored_bytes(bus) - before) / count
            figure(f"an event of 200 bytes takes {each:.0f} bytes, of {count:,}")
            assert each < 200 + 250
    finally:
        server.close()


IDS = [
    "a",
    "event-1",
    "0190c2a0-7b7e-7000-8000-0123456789ab",
    "0190c2a0-7b7e-7000-bcde-0123456789ab",
    "0190c2a0-7b7e-4000-8000-0123456789ab",
    "fourteen chars",
    "0190C2A0-7B7E-7000-8000-0123456789AB",
    "0190c2a07b7e700080000123456789ab",
    "{0190c2a0-7b7e-7000-8000-0123456789ab}",
    "ünïcödé ☃ 事件 🚌",
    "x" * 255,
    "é" * 127,
    "y" * 127,
    "z" * 128,
    "colon:{tag}:*?[a]",
    "12",
    "-1",
    "%s \\ \" ' ;",
]


async def test_ids_of_all_kinds_are_returned_unchanged(topic: TopicDriver) -> None:
    await topic.join()
    bodies = {each: f"body of {each}".encode() for each in IDS}
    await topic.dispatch(*(new_event(each, body=body) for each, body in bodies.items()))
    assert (await topic.dispatch(*IDS)).duplicate_event_ids == IDS
    held = await topic.lease(max_events=100)
    assert {event.event_id: event.body for event in held} == bodies
    for each in IDS:
        assert (await topic.engine.get_event(topic.name, each)).body == bodies[each]
    assert await topic.extend(*held) == [None] * len(IDS)
    assert await topic.nack(*held, delay_us=0) == [None] * len(IDS)
    again = await topic.lease(max_events=100)
    assert sorted(ids(again)) == sorted(IDS)
    assert await topic.ack(*again) == [None] * len(IDS)
    assert (await topic.dispatch(*IDS)).duplicate_event_ids == IDS, "remembered for the dedupe window"


async def test_uuids_that_differ_in_case_are_two_events(topic: TopicDriver) -> None:
    small = "0190c2a0-7b7e-7000-8000-0123456789ab"
    answer = await topic.dispatch(small, small.upper())
    assert (answer.event_ids, answer.duplicate_event_ids) == ([small, small.upper()], [])


async def test_a_repeated_request_gets_the_ids_that_were_generated_first(bus: RedisBus, topic: TopicDriver) -> None:
    await topic.join()
    first = await topic.dispatch(*new_events(3), "chosen", request_id="request")
    other = (await bus.replica()).topic(topic.name)
    now_us = topic.harness.now_us() + 5 * SECOND
    events = with_ids([*new_events(3), new_event("chosen")], now_us, "request")
    (again,) = await other.engine.dispatch(topic.name, [DispatchRequest(events, "request")])
    assert [event.id for event in events] != first.event_ids, "the second request brings other ids"
    assert again == first
    assert ids(await topic.lease()) == first.event_ids


async def test_nothing_remains_of_a_deleted_topic(
    bus: RedisBus, replica: Replica, topic: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The topic has every key that a topic may have."""
    await replica.engine.expire_leases()
    before = bus.stored_keys()
    await topic.dispatch("without a group", request_id="first")
    await topic.dispatch(*new_events(3), request_id="second")
    for group in ("one", "two", "gone"):
        await topic.join(group=group)
    await topic.configure(max_retries=1, dead_letter_retention_us=HOUR)
    await topic.configure_group("one", max_retries=2)
    await topic.pause("two")
    await topic.dispatch("acked", "dead", "leased", "ready", new_event("later", delay_us=HOUR))
    held = {event.event_id: event for event in await topic.lease(group="one", max_events=7)}
    await topic.ack(held["acked"], held["without a group"], group="one")
    await topic.dead_letter(held["dead"], group="one")
    with monkeypatch.context() as patched:
        patched.setattr(topic.engine._engine.deletions, "dispose", AsyncMock())  # type: ignore[attr-defined]
        await topic.delete_group("gone")
    stored = {key.partition("}:")[2] for key in bus.stored_keys() - before}
    names = ["waiting", "leased", "dead", "records", "sessions", "in_flight", "group"]
    assert {f"group:one:{name}" for name in names} <= stored
    assert {"config", "deleted", "recent", "refs", "requests", "requests:earlier"} <= stored

    await topic.delete()

    left = bus.stored_keys() - before
    assert left == {f"replica:{replica.name}:groups"}, "the list of what each replica has to check, which is of the bus"


async def test_answers_to_requests_outlive_the_change_from_one_hash_to_the_other(
    bus: RedisBus, short_memory: TopicConfig
) -> None:
    topic = (await bus.replica(config=short_memory)).topic()
    requests, earlier = bus.key(topic.name, "requests"), bus.key(topic.name, "requests:earlier")
    answers = {name: await topic.dispatch(f"e {name}", request_id=name) for name in ("a", "b", "c")}
    assert (bus.raw.hkeys(earlier), set(bus.raw.hkeys(requests))) == ([b"a"], {b"b", b"c"})
    for name, answer in answers.items():
        assert await topic.dispatch(f"e {name}", request_id=name) == answer

    bus.raw.pexpire(earlier, 900)
    await topic.dispatch("e d", request_id="d")

    assert (set(bus.raw.hkeys(earlier)), bus.raw.hkeys(requests)) == ({b"b", b"c"}, [b"d"])
    assert 0 < bus.raw.pttl(earlier) <= 2_300
    assert 0 < bus.raw.pttl(requests) <= 2_300
