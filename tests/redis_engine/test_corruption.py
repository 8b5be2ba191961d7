"""Damaged data under our keys causes a clear error, or a dead letter with the reason. No other event is lost."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.administration import DeadLetterFilter
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.errors import ConcurrentModification, DispatcherNotWorking, NotFound
from duebus_server.domain.rates import KeyPolicy, Limits, Rate
from duebus_server.domain.states import EventState
from duebus_server.domain.views import TopicConfig
from support.builders import new_event
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

RUBBISH = [
    b"",
    b"x",
    b"\xff" * 16,
    b"\xff" * 17,
    b"\xff" * 18,
    b"\0" * 17,
    b"\0" * 18,
    b"\0" * 200,
    b"\xff" * 500,
    b"no event at all, but some text",
]


@pytest.fixture
async def joined(topic: TopicDriver) -> TopicDriver:
    """A topic with a subscriber."""
    await topic.join()
    return topic


def damage(bus: RedisBus, topic: TopicDriver, event_id: str, blob: bytes | None) -> None:
    """Overwrite what is stored of an event, or remove it."""
    key = bus.key(topic.name, "events")
    if blob is None:
        assert bus.raw.hdel(key, event_id) == 1
    else:
        assert bus.raw.hset(key, event_id, blob) == 0


@pytest.mark.parametrize(
    "blob", [None, *RUBBISH], ids=lambda blob: "missing" if blob is None else f"{len(blob)} of {blob[:1]!r}"
)
@pytest.mark.parametrize("groups", [1, 2])
async def test_a_damaged_event_becomes_a_dead_letter_and_others_are_delivered(
    bus: RedisBus, joined: TopicDriver, blob: bytes | None, groups: int
) -> None:
    names = ["default", "other"][:groups]
    if groups == 2:
        await joined.join(group="other")
    await joined.dispatch("a", "bad", "c")
    damage(bus, joined, "bad", blob)
    for group in names:
        held = await joined.lease(group=group) + await joined.lease(group=group)
        assert ids(held) == ["a", "c"]
        assert await joined.counts(group) == {EventState.LEASED: 2, EventState.DEAD: 1}
        page = await joined.page(EventState.DEAD, 10, group=group)
        assert ids(page.events) == ["bad"]
        assert page.events[0].groups[0].last_error == "the stored event is missing or corrupt"
        assert (await joined.group_info("bad", group)).state is EventState.DEAD
        assert await joined.ack(*held, group=group) == [None, None]
        assert await joined.lease(group=group) == []
    assert await joined.queued() == 0
    assert (await joined.dispatch("bad")).duplicate_event_ids == ["bad"], "the topic still holds it, as a dead letter"


async def test_any_flipped_bit_is_noticed(bus: RedisBus, joined: TopicDriver) -> None:
    key = bus.key(joined.name, "events")
    await joined.dispatch(new_event("fine", body=b"body"))
    behind_the_time = 8  # the time of dispatch, which only the event's history shows
    indexes = range(behind_the_time, len(bus.raw.hget(key, "fine")))
    for at in indexes:
        await joined.dispatch(new_event(f"e{at:03}", body=b"body"))
        blob = bytearray(bus.raw.hget(key, f"e{at:03}"))
        blob[at] ^= 1
        bus.raw.hset(key, f"e{at:03}", bytes(blob))
    assert ids(await joined.lease_all()) == ["fine"]
    assert await joined.counts() == {EventState.LEASED: 1, EventState.DEAD: len(indexes)}


async def test_an_event_keeps_its_max_retries_behind_one_that_has_lost_them(bus: RedisBus, joined: TopicDriver) -> None:
    await joined.dispatch(new_event("cut", max_retries=7), new_event("whole", max_retries=7))
    damage(bus, joined, "cut", bus.raw.hget(bus.key(joined.name, "events"), "cut")[:18])
    assert ids(await joined.lease_all()) == ["whole"]
    assert (await joined.group_info("whole")).max_retries == 7


async def test_events_behind_a_damaged_one_can_be_settled(bus: RedisBus, joined: TopicDriver) -> None:
    await joined.dispatch("bad", "a", "b")
    damage(bus, joined, "bad", None)
    a, b = await joined.lease()
    assert await joined.nack(b, error="later", delay_us=0) == [None]
    assert await joined.ack(a) == [None]
    again = await joined.lease_one()
    assert (again.event_id, again.attempt, again.last_error) == ("b", 2, "later")


async def test_a_stray_member_does_not_affect_the_event_it_names(bus: RedisBus, joined: TopicDriver) -> None:
    await joined.dispatch("event")
    bus.raw.zadd(bus.key(joined.name, "group:default:waiting"), {b"\xff\xff\xff\xfcevent": 1})
    (held,) = await joined.lease_all()
    assert await joined.counts() == {EventState.LEASED: 1}
    assert await joined.ack(held) == [None]


async def test_a_purge_removes_a_damaged_event(bus: RedisBus, joined: TopicDriver) -> None:
    config = replace(TopicConfig(), dead_letter_retention_us=1)
    sweeper = await bus.replica(config=config)
    await joined.dispatch("missing", "short", "long")
    for name, blob in (("missing", None), ("short", b"x"), ("long", b"\xff" * 500)):
        damage(bus, joined, name, blob)
    assert await joined.lease() == []
    await sweeper.engine.expire_leases()
    assert await joined.counts() == {}
    assert await joined.queued() == 0
    assert bus.raw.exists(bus.key(joined.name, "events"), bus.key(joined.name, "group:default:records")) == 0


@pytest.mark.parametrize("name", ["waiting", "leased", "dead"])
async def test_invalid_members_do_not_affect_other_events(bus: RedisBus, joined: TopicDriver, name: str) -> None:
    garbage = [
        b"",
        b"x",
        b"\0\0\0\0",
        b"\0\0\0\0\0",
        b"\xff" * 40,
        b"\0\0\0\1unknown",
        b"\0\0\0\2\0short",
        b"\0\0\0\3\1",
    ]
    bus.raw.zadd(bus.key(joined.name, f"group:default:{name}"), dict.fromkeys(garbage, 1))
    await joined.dispatch("good")
    held = await joined.lease_all()
    assert ids(held) == ["good"]
    assert await joined.ack(*held) == [None]
    assert await joined.lease_all() == []
    assert await joined.counts() == {EventState.DEAD: len(garbage)}
    assert len((await joined.page(EventState.DEAD, 100)).events) == len(garbage)
    assert await joined.queued() == 0


@pytest.mark.parametrize("record", [b"", b"\xc1", b"garbage", b"\x90", b"\x01", b"\x93\x01\x02\x03"], ids=str)
async def test_invalid_records_lose_the_history_and_not_the_event(
    bus: RedisBus, joined: TopicDriver, record: bytes
) -> None:
    await joined.dispatch("waiting", "leased", "fine")
    first = await joined.lease(max_events=3)
    await joined.nack(first[0], delay_us=0)
    key = bus.key(joined.name, "group:default:records")
    for name in ("waiting", "leased"):
        bus.raw.hset(key, name, record)
    assert len(await joined.ack(first[1])) == 1, "any answer will do"
    assert await joined.extend(first[2]) == [None]
    await joined.group_info("waiting")
    await joined.page(EventState.LEASED, 10)
    await joined.shorten(0)
    leased = bus.key(joined.name, "group:default:leased")
    bus.raw.zadd(leased, dict.fromkeys(bus.raw.zrange(leased, 0, -1), 1), xx=True)
    again = await joined.lease_all()
    assert {"waiting", "fine"} <= set(ids(again))
    assert set(ids(again)) <= {"waiting", "leased", "fine"}
    assert await joined.ack(*again) == [None] * len(again)
    assert await joined.lease_all() == []


OWN_KEYS = [
    "events", "groups", "meta", "refs", "config", "group:default:waiting", "group:default:leased", "group:default:dead",
    "group:default:suspects", "group:default:records", "group:default:sessions", "group:default:in_flight",
    "group:default:group",
]  # fmt: skip

KEYS_OF_KEYS = [f"group:default:{name}" for name in ("upcoming", "blocked", "by_key", "keys")]
KEYS_OF_PRIORITIES = [f"group:default:{name}" for name in ("prioritized", "ranked")]


async def problem_of(call: Awaitable[Any]) -> DispatcherNotWorking | None:
    """The engine's error, if it refuses."""
    try:
        await call
    except DispatcherNotWorking as error:
        return error
    return None


@pytest.mark.parametrize("name", [*OWN_KEYS, *KEYS_OF_KEYS, *KEYS_OF_PRIORITIES])
async def test_a_key_of_another_application_is_a_clear_error_and_changes_nothing(
    bus: RedisBus, replica: Replica, joined: TopicDriver, name: str
) -> None:
    await joined.join(group="second")
    order = "an order" if name in KEYS_OF_KEYS else ""
    priority = int(name in KEYS_OF_PRIORITIES)
    later = new_event("later", key=order, delay_us=HOUR)
    await joined.dispatch(*(new_event(one, key=order, priority=priority) for one in ("one", "two")), later)
    (held,) = await joined.lease(max_events=1)
    other = replica.topic()
    await other.join()
    key = bus.key(joined.name, name)
    saved = bus.raw.dump(key)
    bus.raw.delete(key)
    bus.raw.set(key, "a string of another application")

    before = bus.contents(joined.name)
    calls: list[Any] = [
        lambda: joined.dispatch(new_event("new", key=order, priority=priority)),
        joined.lease,
        lambda: joined.ack(held),
        lambda: joined.nack(held),
        lambda: joined.dead_letter(held),
        lambda: joined.extend(held),
    ]
    errors = []
    for call in calls:
        error = await problem_of(call())
        if error is not None:
            errors.append(error)
            assert bus.contents(joined.name) == before, "no change was made in part"
        before = bus.contents(joined.name)
    assert errors
    assert {("wrong type" in str(error), error.retry_after_us) for error in errors} == {(True, SECOND)}

    await replica.engine.expire_leases()
    await other.dispatch("event")
    assert await other.ack(await other.lease_one()) == [None], "other topics keep working"

    bus.raw.delete(key)
    if saved:
        bus.raw.restore(key, 0, saved)
    await joined.counts()


WRITTEN = {
    "dispatch": ["events", "meta", "refs", "group:default:waiting", "group:second:waiting", "group:second:group"],
    "hand over": [f"group:default:{name}" for name in ("leased", "records", "in_flight", "group")],
    "lease": [f"group:default:{name}" for name in ("waiting", "leased", "records", "in_flight", "group", "suspects")],
    "lease after one has run out": [f"group:default:{name}" for name in ("dead", "in_flight")],
    "lease of an event with a key that has become due": ["group:default:in_flight", "group:default:keys"],
    "lease of a damaged event": ["meta", "refs", "group:default:dead"],
    "ack": ["events", "meta", "refs", *(f"group:default:{name}" for name in ("leased", "records", "in_flight"))],
}
WRITTEN["ack and lease"] = WRITTEN["ack"]
WRITTEN["ack under a limit"] = [f"group:default:{name}" for name in ("waiting", "suspects", "upcoming", "group")]
WRITTEN["dispatch under a limit"] = ["group:default:leased"]
WRITTEN["lease under a key policy"] = [f"group:default:{name}" for name in ("keys", "slots", "tats")]


@pytest.mark.parametrize(("step", "name"), [(step, name) for step, names in WRITTEN.items() for name in names])
async def test_a_step_finds_a_key_of_another_application_before_it_writes(
    bus: RedisBus, joined: TopicDriver, step: str, name: str
) -> None:
    await joined.join(group="second")
    await joined.dispatch("one", "two")
    held = await joined.lease(
        max_events=2 if step == "hand over" else 1, lease_us=1 if step == "lease after one has run out" else None
    )
    if step == "lease of an event with a key that has become due":
        await joined.dispatch(new_event("three", key="a key", delay_us=1))
    if step == "lease of a damaged event":
        damage(bus, joined, "two", b"x")
    if step.endswith("under a limit"):
        await joined.configure(limits=Limits(2))
    if step == "lease under a key policy":
        await joined.configure(keys=KeyPolicy(2, Rate(10, SECOND)))
        await joined.dispatch(new_event("three", key="a key"))
    bus.raw.delete(bus.key(joined.name, name))
    bus.raw.set(bus.key(joined.name, name), "a string of another application")
    before = bus.contents(joined.name)
    steps: dict[str, Callable[[], Awaitable[Any]]] = {
        "dispatch": lambda: joined.dispatch("new"),
        "hand over": lambda: joined.hand_over("new"),
        "lease": joined.lease,
        "lease after one has run out": joined.lease,
        "lease of an event with a key that has become due": joined.lease,
        "lease of a damaged event": joined.lease,
        "ack": lambda: joined.ack(*held),
        "ack and lease": lambda: joined.ack_and_lease(*held),
        "ack under a limit": lambda: joined.ack(*held),
        "dispatch under a limit": lambda: joined.dispatch("new"),
        "lease under a key policy": lambda: joined.lease(max_events=2),
    }
    with pytest.raises(DispatcherNotWorking, match="wrong type"):
        await steps[step]()
    assert bus.contents(joined.name) == before


@pytest.mark.parametrize(
    "name", [*OWN_KEYS, *KEYS_OF_KEYS, *KEYS_OF_PRIORITIES, "recent", "requests", "requests:earlier", "deleted"]
)
async def test_admin_verbs_on_keys_of_another_application_are_a_clear_error(
    bus: RedisBus, replica: Replica, joined: TopicDriver, name: str
) -> None:
    await joined.join(group="second")
    await joined.dispatch("dead")
    await joined.dead_letter(await joined.lease_one())
    order = "an order" if name in KEYS_OF_KEYS else ""
    priority = int(name in KEYS_OF_PRIORITIES)
    events = [new_event(one, key=order, priority=priority) for one in ("event", "behind")]
    await joined.dispatch(*events, request_id="request")
    await joined.dispatch(new_event("later", key=order, delay_us=HOUR))
    bus.raw.delete(bus.key(joined.name, name))
    bus.raw.set(bus.key(joined.name, name), "a string of another application")
    before = bus.contents(joined.name)
    calls: dict[str, Any] = {
        "configure": lambda: joined.configure(lease_us=SECOND),
        "configure group": lambda: joined.configure_group(max_retries=1),
        "pause": joined.pause,
        "resume": joined.resume,
        "cancel": lambda: joined.cancel("event"),
        "reschedule": lambda: joined.reschedule("event", delay_us=SECOND),
        "redrive": joined.redrive,
        "purge": joined.purge,
        "delete group": joined.delete_group,
        "delete": joined.delete,
    }
    errors: dict[str, DispatcherNotWorking] = {}
    for verb, call in calls.items():
        try:
            error = await problem_of(call())
        except (NotFound, ConcurrentModification):
            continue  # a missing key hides a wrong one
        if error is not None:
            errors[verb] = error
            assert bus.contents(joined.name) == before, f"{verb} has made part of its change"
        before = bus.contents(joined.name)
    assert "delete" in errors, "another application's key is not deleted with the topic"
    assert {"wrong type" in str(error) for error in errors.values()} == {True}


async def test_a_damaged_topic_does_not_hide_the_others_from_the_list(bus: RedisBus, replica: Replica) -> None:
    topics = sorted((replica.topic() for _ in range(3)), key=lambda topic: topic.name)
    for topic in topics:
        await topic.dispatch("event")
    key = bus.key(topics[1].name, "events")
    bus.raw.delete(key)
    bus.raw.set(key, "a string")

    listed = await replica.engine.list_topics("", 10)

    assert [info.topic for info in listed] == [topic.name for topic in topics]
    assert ["wrong type" in info.problem for info in listed] == [False, True, False]
    assert [info.queued for info in listed] == [1, 0, 1]
    assert await replica.engine.queued() == 2


async def test_damaged_dead_letters_are_redriven_to_die_again_and_purged(bus: RedisBus, joined: TopicDriver) -> None:
    await joined.dispatch("missing", "short", "long", "story", "fine")
    for name, blob in (("missing", None), ("short", b"x"), ("long", b"\xff" * 500)):
        damage(bus, joined, name, blob)
    await joined.dead_letter(*await joined.lease_all(), error="boom")
    assert await joined.counts() == {EventState.DEAD: 5}
    bus.raw.hset(bus.key(joined.name, "group:default:records"), "story", b"\xc1")

    assert (await joined.redrive()).moved == 5
    assert sorted(ids(await joined.lease_all())) == ["fine", "story"]
    assert await joined.counts() == {EventState.LEASED: 2, EventState.DEAD: 3}
    assert await joined.queued() == 2

    assert (await joined.purge(DeadLetterFilter(error_contains="corrupt"))).moved == 3
    assert await joined.delete_group() == 2
    assert bus.raw.exists(bus.key(joined.name, "events"), bus.key(joined.name, "refs")) == 0


async def test_a_broken_group_does_not_hide_the_others_from_the_sweep(bus: RedisBus, replica: Replica) -> None:
    topics = [replica.topic() for _ in range(3)]
    for topic in topics:
        await topic.join()
        await topic.dispatch("event")
        await topic.lease_one(lease_us=1)
    bus.raw.delete(bus.key(topics[0].name, "group:default:waiting"))
    bus.raw.set(bus.key(topics[0].name, "group:default:waiting"), "a string")
    replica.recorder.forget()
    await replica.engine.expire_leases()
    assert {due.topic for due in replica.recorder.dues} >= {topic.name for topic in topics[1:]}
    assert await topics[1].counts() == {EventState.READY: 1}


@pytest.mark.parametrize("name", ["topics", "secret", "layout", "{NS:layout}:replicas", "{NS:layout}:reads"])
async def test_a_key_of_the_bus_that_is_another_applications_is_one_clear_error(bus: RedisBus, name: str) -> None:
    bus.raw.rpush(f"{bus.namespace}:{name.replace('NS', bus.namespace)}", "a list")

    async def start_and_dispatch() -> None:
        await (await bus.replica()).topic().dispatch("event")

    with pytest.raises(DispatcherNotWorking, match="wrong type"):
        await start_and_dispatch()


async def test_an_invalid_secret_is_refused_at_the_start(bus: RedisBus) -> None:
    bus.raw.set(f"{bus.namespace}:secret", "hunter2" * 20)
    with pytest.raises(DispatcherNotWorking, match=f"the key {bus.namespace}:secret holds something other"):
        await bus.replica()


async def test_invalid_entries_among_the_replicas_do_not_stop_heartbeats(bus: RedisBus, replica: Replica) -> None:
    bus.raw.zadd(f"{bus.namespace}:{{{bus.namespace}:layout}}:replicas", {b"\xff\xfe": 1, b"ghost": 1})
    bus.raw.sadd(f"{bus.namespace}:replica:ghost:groups", b"\xff", b"no slash", b"/", b"a/b/c")
    replica.engine._engine._presence._finds_dead_from_s = 0.0
    await replica.engine._engine._presence._beat()
    assert bus.raw.zrange(f"{bus.namespace}:{{{bus.namespace}:layout}}:replicas", 0, -1)[-1] == replica.name.encode()
    assert not bus.raw.exists(f"{bus.namespace}:replica:ghost:groups")


async def test_an_invalid_remembered_request_is_ignored(bus: RedisBus, joined: TopicDriver) -> None:
    for number, garbage in enumerate((b"", b"\xc1", b"garbage", b"\x90", b"\x01", b"\x91\xa1x")):
        bus.raw.hset(bus.key(joined.name, "requests"), f"r{number}", garbage)
        answer = await joined.dispatch(f"e{number}", request_id=f"r{number}")
        assert (answer.event_ids, answer.duplicate_event_ids) == ([f"e{number}"], [])
        assert await joined.dispatch(f"e{number}", request_id=f"r{number}") == answer
