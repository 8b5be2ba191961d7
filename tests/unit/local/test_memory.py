"""The memory that the local engine keeps for events that are done."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import SECOND, ManualClock
from duebus_server.domain.event_ids import EventIds
from duebus_server.domain.model import DispatchRequest, LeaseRef, LeaseRequest, NewEvent, SubscriberInfo
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW_US = 1_795_470_958_203_782
EVENTS = 1_000
ROUNDS = 20


@pytest.fixture
async def engine() -> AsyncIterator[LocalEngine]:
    engine = LocalEngine(ManualClock(NOW_US), TopicConfig())
    await engine.start()
    await engine.join("order.created", "billing", SubscriberInfo("session", "", NOW_US))
    yield engine
    await engine.stop()


async def test_the_answer_to_a_request_costs_no_memory_for_each_event_that_is_done(engine: LocalEngine) -> None:
    await handle_a_request(engine, "warm-up")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for index in range(ROUNDS):
            await handle_a_request(engine, f"request-{index}")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < ROUNDS * EVENTS * 8  # less than a pointer for each event


async def test_keys_without_events_take_up_no_memory(engine: LocalEngine) -> None:
    await handle_keys(engine, "warm-up")
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        for place in range(ROUNDS):
            await handle_keys(engine, f"key-{place}")
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert after - before < ROUNDS * EVENTS * 8  # less than a pointer for each key


async def handle_keys(engine: LocalEngine, prefix: str) -> None:
    """Dispatch and ack two events of each of many keys."""
    ids = EventIds(NOW_US, prefix)
    events = [
        NewEvent(ids.at(place), b"body", id_is_generated=True, key=f"{prefix}-{place // 2}") for place in range(EVENTS)
    ]
    await engine.dispatch("order.created", [DispatchRequest(events)])
    for _ in range(2):
        batch = await engine.lease("order.created", "billing", "session", LeaseRequest(EVENTS, EVENTS * 10))
        assert len(batch.events) == EVENTS // 2
        await engine.ack(
            "order.created", "billing", [LeaseRef(one.event_id, one.fencing_token) for one in batch.events]
        )


async def handle_a_request(engine: LocalEngine, request_id: str) -> None:
    ids = EventIds(NOW_US, request_id)
    events = [NewEvent(ids.at(index), b"body", id_is_generated=True) for index in range(EVENTS)]
    await engine.dispatch("order.created", [DispatchRequest(events, request_id)])
    request = LeaseRequest(max_events=EVENTS, max_bytes=EVENTS * 10, lease_us=SECOND)
    batch = await engine.lease("order.created", "billing", "session", request)
    done = [LeaseRef(event.event_id, event.fencing_token) for event in batch.events]
    assert await engine.ack("order.created", "billing", done) == [None] * EVENTS
