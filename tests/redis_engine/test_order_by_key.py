"""Order by key on Redis: damaged events, lost answers, a failover, many events at once, and the memory of keys."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest
import redis
from duebus_server.domain.clock import HOUR, SECOND
from duebus_server.domain.model import DispatchRequest
from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import HeldCopy, HeldEvent
from redis_engine.test_hand_over import RESERVED
from support.builders import new_event
from support.proxy import proxy_to
from support.redis_bus import lost_answers, redis_bus, until
from support.topics import WORKER, ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.domain.model import NewEvent
    from support.redis_bus import RedisBus, Replica
    from support.redis_server import RedisServer
    from support.topics import TopicDriver

KEY = "an order"


def of_key(*names: str, delay_us: int | None = None) -> list[NewEvent]:
    return [new_event(name, body=b"body", key=KEY, delay_us=delay_us) for name in names]


@pytest.fixture
async def joined(topic: TopicDriver) -> TopicDriver:
    """A topic with a session that has leased everything."""
    await topic.join()
    assert await topic.lease() == []
    return topic


async def test_behind_a_damaged_event_the_next_of_its_key_is_delivered(bus: RedisBus, joined: TopicDriver) -> None:
    key = bus.key(joined.name, "events")
    await joined.dispatch(*of_key("fine"))
    behind_the_time = 8  # the time of dispatch, which only the event's history shows
    places = range(behind_the_time, len(bus.raw.hget(key, "fine")))
    await joined.cancel("fine")
    for at in places:
        name = f"e{at:03}"
        own_key = f"order {at:02}"
        await joined.dispatch(new_event(name, body=b"body", key=own_key), new_event(f"behind {name}", key=own_key))
        blob = bytearray(bus.raw.hget(key, name))
        blob[at] ^= 1
        bus.raw.hset(key, name, bytes(blob))
    await joined.dispatch(*of_key("missing", "behind missing"))
    bus.raw.hdel(key, "missing")
    held = await joined.lease_all()
    assert sorted(ids(held)) == sorted([*(f"behind e{at:03}" for at in places), "behind missing"])
    assert await joined.counts() == {EventState.LEASED: len(held), EventState.DEAD: len(held)}
    await joined.ack(*held)
    assert (await joined.keys()).keys == []


async def test_an_event_whose_lease_was_not_answered_stays_before_the_others(
    replica: Replica, joined: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await joined.dispatch(*of_key("first", "second"))
    with lost_answers(replica, monkeypatch) as ran:
        call = asyncio.ensure_future(joined.lease())
        await ran.wait()
        call.cancel()
        await asyncio.wait([call])
    await joined.reschedule("second", delay_us=0)
    (held,) = await joined.lease_all()
    assert (held.event_id, held.attempt) == ("first", 1)
    await joined.ack(held)
    assert ids(await joined.lease_all()) == ["second"]


async def test_a_hand_over_leaves_the_next_of_a_key_blocked(replica: Replica, joined: TopicDriver) -> None:
    events = [*of_key("first", "second"), new_event("other"), *of_key("later", delay_us=HOUR)]
    await joined.engine.dispatch(joined.name, [DispatchRequest(events)], RESERVED)
    held = replica.recorder.handed_over(WORKER)
    assert ids(held) == ["first", "other"]
    assert [event.body for event in held] == [events[0].body, events[2].body]
    assert (await joined.group_info("second")).waits_for == "first"


async def test_a_failover_keeps_the_order_of_a_key(start_redis: Callable[..., RedisServer]) -> None:
    old, new = start_redis(), start_redis()
    with redis.Redis.from_url(new.url) as follower, redis.Redis.from_url(old.url) as leader:
        follower.replicaof("127.0.0.1", old.port)
        await until(lambda: follower.info("replication")["master_link_status"] == "up", "the replica")
        async with proxy_to(f"127.0.0.1:{old.port}") as proxy, redis_bus(f"redis://{proxy.address}") as bus:
            topic = (await bus.replica()).topic()
            await topic.join()
            await topic.dispatch(*of_key("first", "second", "third"))
            (first,) = await topic.lease_all()
            leader.wait(1, 5_000)
            follower.replicaof("NO", "ONE")
            proxy.aim(f"127.0.0.1:{new.port}")
            leader.replicaof("127.0.0.1", new.port)
            assert await topic.lease_all() == []
            await topic.ack(first)
            (second,) = await topic.lease_all()
            assert second.event_id == "second"
            assert second.fencing_token > first.fencing_token


async def test_many_events_of_a_key_that_come_due_together_hold_up_no_others(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    for first in range(0, 2_500, 500):
        await topic.dispatch(*of_key(*(f"{number:04}" for number in range(first, first + 500)), delay_us=SECOND))
    await topic.dispatch(new_event("other", delay_us=2 * SECOND))
    await replica.advance(3 * SECOND)
    # a thousand are moved in one step, and an event without a key goes past the others
    batch = await topic.lease_batch()
    assert ids(batch.events) == ["0000", "other"]
    assert batch.next_due_us is not None
    assert batch.next_due_us <= replica.now_us()
    assert frozen_bus.raw.zcard(frozen_bus.key(topic.name, "group:default:upcoming")) == 1_500
    # and no event of the key goes before an earlier one that is not moved yet
    await topic.ack(*batch.events)
    assert ids((await topic.lease_batch()).events) == ["0001"]
    assert ids(await topic.lease_all()) == []
    assert await topic.counts() == {EventState.LEASED: 1, EventState.BLOCKED: 2_498}


async def test_an_imported_event_that_was_leased_stays_before_the_others(frozen_bus: RedisBus) -> None:
    replica = await frozen_bus.replica()
    topic = replica.topic()
    await topic.join()
    now_us = replica.now_us()
    pinned = HeldCopy("default", EventState.SCHEDULED, now_us + HOUR, attempts=1, pinned=True)
    waits = HeldCopy("default", EventState.READY, now_us - HOUR)
    for name, copy in (("waits", waits), ("pinned", pinned)):
        event = HeldEvent(topic.name, name, b"body", now_us - HOUR, "", None, [copy], KEY)
        assert await replica.engine.import_events(topic.name, [event]) == 1
    assert await topic.lease_all() == []
    assert (await topic.group_info("waits")).waits_for == "pinned"
    await replica.advance(HOUR)
    (held,) = await topic.lease_all()
    assert (held.event_id, held.attempt) == ("pinned", 2)
    await topic.ack(held)
    assert ids(await topic.lease_all()) == ["waits"]


async def test_keys_leave_nothing_behind(bus: RedisBus, joined: TopicDriver) -> None:
    await joined.dispatch("before")
    await joined.ack(*await joined.lease_all())
    empty = bus.stored_keys()
    for turn in range(2):
        await joined.dispatch(*(new_event(key=f"key {number % 20}") for number in range(100)))
        await joined.dispatch(*of_key(f"cancelled {turn}", f"rescheduled {turn}", delay_us=HOUR))
        await joined.reschedule(f"rescheduled {turn}", delay_us=0)
        done = 0
        while held := await joined.lease_all():
            await joined.ack(*held)
            done += len(held)
        assert done == 101
        await joined.cancel(f"cancelled {turn}")
    assert {key for key in bus.stored_keys() if not key.endswith(("rates", "recent"))} <= empty
