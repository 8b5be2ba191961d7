"""Ids that clients choose are unique over all partitions, wherever a dispatch is broken off. See DATA_MODEL.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.partitioned.partitions import home_of, partitions
from support.builders import new_events
from support.topics import ids

if TYPE_CHECKING:
    from support.redis_bus import RedisBus, Replica
    from support.topics import TopicDriver

COUNT = 4
DEDUPE_US = 10 * MINUTE


@pytest.fixture
async def replica(frozen_bus: RedisBus) -> Replica:
    """A replica whose clock the test moves."""
    return await frozen_bus.replica()


@pytest.fixture
async def spread(replica: Replica) -> TopicDriver:
    """A topic over four partitions, to which a worker has subscribed."""
    topic = replica.topic()
    await topic.configure(partitions=COUNT)
    await topic.join()
    return topic


def at_home_in(number: int, kind: str) -> str:
    """An id (of an event or a request) that belongs to this partition."""
    return next(name for name in (f"{kind}-{nth}" for nth in range(1_000)) if home_of(name, COUNT) == number)


EVENT = at_home_in(0, "event")
TO = [at_home_in(number, "request") for number in range(COUNT)]
"""Request ids by the partition that they lead to."""


class Broken(Exception):
    """The replica has died here."""


def holders(bus: RedisBus, topic: TopicDriver) -> list[int]:
    """In which partitions there are events."""
    return [n for n, name in enumerate(partitions(topic.name, COUNT)) if bus.raw.hlen(bus.key(name, "events"))]


def pins(bus: RedisBus, topic: TopicDriver) -> int:
    """How many pins there are."""
    return sum(bus.raw.zcard(bus.key(name, "pinned")) for name in partitions(topic.name, COUNT))


async def die_instead_of(
    topic: TopicDriver, script: str, request_id: str, monkeypatch: pytest.MonkeyPatch, *, after: bool = False
) -> None:
    """Dispatch the event, and die before (or ``after``) this script has run."""
    runner = topic.engine._runner  # type: ignore[attr-defined]
    run = runner._run_with

    async def dies(redis: Any, key: str, what: Any, *arguments: Any) -> Any:
        if what.name != script:
            return await run(redis, key, what, *arguments)
        if after:
            await run(redis, key, what, *arguments)
        raise Broken

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_run_with", dies)
        with pytest.raises(Broken):
            await topic.dispatch(EVENT, request_id=request_id)


@pytest.mark.parametrize("first", range(COUNT))
@pytest.mark.parametrize("second", range(COUNT))
async def test_an_event_is_stored_once_whichever_partitions_its_requests_lead_to(
    frozen_bus: RedisBus, spread: TopicDriver, first: int, second: int
) -> None:
    assert (await spread.dispatch(EVENT, request_id=TO[first])).duplicate_event_ids == []
    again = await spread.dispatch(EVENT, "other", request_id=TO[second] if first != second else "")
    assert again.duplicate_event_ids == [EVENT]
    held = await spread.lease()
    assert sorted(ids(held)) == sorted([EVENT, "other"])
    await spread.ack(*held)
    assert (await spread.dispatch(EVENT)).duplicate_event_ids == [EVENT], "it is remembered"
    await spread.harness.advance(DEDUPE_US + SECOND)
    assert (await spread.dispatch(EVENT)).duplicate_event_ids == [], "and forgotten"
    assert len(holders(frozen_bus, spread)) == 1


async def test_an_event_alone_costs_no_pin(frozen_bus: RedisBus, spread: TopicDriver) -> None:
    await spread.dispatch(EVENT)
    assert holders(frozen_bus, spread) == [0]
    assert pins(frozen_bus, spread) == 0


async def test_ids_that_the_bus_made_are_not_pinned(frozen_bus: RedisBus, spread: TopicDriver) -> None:
    await spread.dispatch(*new_events(5), request_id=TO[1])
    assert pins(frozen_bus, spread) == 0


# --- it is broken off ---


async def test_before_anything_was_pinned_nothing_has_happened(
    frozen_bus: RedisBus, spread: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    await die_instead_of(spread, "pin", TO[1], monkeypatch)
    assert (await spread.dispatch(EVENT, request_id=TO[2])).duplicate_event_ids == []
    assert holders(frozen_bus, spread) == [2]


@pytest.mark.parametrize(("script", "after"), [("pin", True), ("dispatch", False)])
async def test_between_the_pin_and_the_dispatch_a_repetition_goes_on_and_others_wait_a_minute(
    frozen_bus: RedisBus, spread: TopicDriver, monkeypatch: pytest.MonkeyPatch, script: str, after: bool
) -> None:
    await die_instead_of(spread, script, TO[1], monkeypatch, after=after)
    for other in (TO[0], TO[2], ""):
        with pytest.raises(DispatcherNotWorking, match="another request dispatches an event of the same id just now"):
            await spread.dispatch(EVENT, request_id=other)
    assert holders(frozen_bus, spread) == []
    assert (await spread.dispatch(EVENT, request_id=TO[1])).duplicate_event_ids == []
    assert ids(await spread.lease()) == [EVENT]


@pytest.mark.parametrize("other", [0, 2])
async def test_a_pin_to_nothing_can_be_moved_after_a_minute(
    frozen_bus: RedisBus, spread: TopicDriver, monkeypatch: pytest.MonkeyPatch, other: int
) -> None:
    await die_instead_of(spread, "dispatch", TO[1], monkeypatch)
    await spread.harness.advance(MINUTE)
    assert (await spread.dispatch(EVENT, request_id=TO[other])).duplicate_event_ids == []
    assert holders(frozen_bus, spread) == [other]
    assert (await spread.dispatch(EVENT, request_id=TO[3])).duplicate_event_ids == [EVENT]


async def test_a_dispatch_that_comes_too_late_for_its_pins_stores_nothing(
    frozen_bus: RedisBus, spread: TopicDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner = spread.engine._runner  # type: ignore[attr-defined]
    run = runner._run_with

    async def is_slow(redis: Any, key: str, what: Any, *arguments: Any) -> Any:
        if what.name == "dispatch":
            await spread.harness.advance(21 * SECOND)
        return await run(redis, key, what, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(runner, "_run_with", is_slow)
        with pytest.raises(DispatcherNotWorking, match="Redis was too slow") as raised:
            await spread.dispatch(EVENT, request_id=TO[1])
    assert raised.value.retry_after_us
    assert holders(frozen_bus, spread) == []
    assert (await spread.dispatch(EVENT, request_id=TO[1])).duplicate_event_ids == []


@pytest.mark.parametrize("other", [0, 2])
async def test_after_the_dispatch_the_event_is_there_and_found(
    frozen_bus: RedisBus, spread: TopicDriver, monkeypatch: pytest.MonkeyPatch, other: int
) -> None:
    await die_instead_of(spread, "dispatch", TO[1], monkeypatch, after=True)
    assert (await spread.dispatch(EVENT, request_id=TO[other])).duplicate_event_ids == [EVENT]
    assert (await spread.dispatch(EVENT, request_id=TO[1])).duplicate_event_ids == [], "the first answer"
    assert holders(frozen_bus, spread) == [1]


async def test_a_request_that_was_refused_leaves_a_pin_that_hides_nothing(
    frozen_bus: RedisBus, replica: Replica
) -> None:
    topic = replica.topic()
    await topic.configure(partitions=COUNT, max_queued=1)
    await topic.dispatch("fills-it", request_id=TO[1])
    refused = await topic.try_dispatch(EVENT, request_id=at_home_in(1, "again"))
    assert "holds 1 events of at most 1" in str(refused)
    await topic.harness.advance(MINUTE)
    assert (await topic.dispatch(EVENT, request_id=TO[2])).duplicate_event_ids == []
    assert await topic.queued() == 2


# --- pins that nobody needs any more ---


async def test_pins_go_when_their_events_are_forgotten_and_not_before(
    frozen_bus: RedisBus, spread: TopicDriver
) -> None:
    await spread.dispatch(EVENT, request_id=TO[1])
    await spread.harness.advance(DEDUPE_US + 2 * MINUTE)
    await spread.engine.expire_leases()
    assert pins(frozen_bus, spread) == 1, "the event is there"
    await spread.ack(*await spread.lease())
    await spread.harness.advance(DEDUPE_US - MINUTE)
    await spread.engine.expire_leases()
    assert pins(frozen_bus, spread) == 1, "it is remembered"
    assert (await spread.dispatch(EVENT, request_id=TO[2])).duplicate_event_ids == [EVENT]
    await spread.harness.advance(HOUR)
    await spread.engine.expire_leases()
    assert pins(frozen_bus, spread) == 0


async def test_another_replica_sweeps_pins_as_well(frozen_bus: RedisBus, spread: TopicDriver) -> None:
    await spread.dispatch(EVENT, request_id=TO[1])
    await spread.ack(*await spread.lease())
    other = await frozen_bus.replica()
    await spread.harness.advance(HOUR)
    await other.engine.expire_leases()
    assert pins(frozen_bus, spread) == 0
