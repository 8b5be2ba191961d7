"""Streams of deleted groups and topics end, even if the engine's notification is late or lost."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.delivery.frames import GROUP_DELETED, TOPIC_DELETED, Closing
from duebus_server.domain.clock import SECOND
from support.builders import new_event
from support.workers import settle_down
from unit.delivery.conftest import GROUP, TOPIC

if TYPE_CHECKING:
    from unit.delivery.conftest import Bench, Subscriber


def closings(*subscribers: Subscriber) -> list[list[Closing]]:
    """What closed each stream."""
    return [[frame for frame in each.frames if isinstance(frame, Closing)] for each in subscribers]


async def test_the_streams_of_a_deleted_group_end_and_others_continue(bench: Bench) -> None:
    first, second, other = await bench.subscribe(), await bench.subscribe(), await bench.subscribe(group="other")

    await bench.engine.delete_group(TOPIC, GROUP)
    await settle_down()

    assert closings(first, second, other) == [[GROUP_DELETED], [GROUP_DELETED], []]
    assert [each.ended for each in (first, second, other)] == [True, True, False]
    await bench.dispatch("a")
    assert other.ids == ["a"]


async def test_the_streams_of_a_deleted_topic_end_in_every_group(bench: Bench) -> None:
    first, other = await bench.subscribe(), await bench.subscribe(group="other")

    await bench.engine.delete_topic(TOPIC)
    await settle_down()

    assert closings(first, other) == [[TOPIC_DELETED], [TOPIC_DELETED]]
    assert (first.ended, other.ended) == (True, True)


@pytest.mark.parametrize("whole_topic", [False, True])
async def test_a_lost_notification_is_noticed_by_the_next_lease(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, whole_topic: bool
) -> None:
    monkeypatch.setattr(bench.streams, "deleted", lambda _topic, _group: None)
    subscriber = await bench.subscribe()
    await bench.dispatch(new_event(delay_us=SECOND))

    if whole_topic:
        await bench.engine.delete_topic(TOPIC)
    else:
        await bench.engine.delete_group(TOPIC, GROUP)
    await bench.advance(SECOND)

    assert closings(subscriber) == [[TOPIC_DELETED if whole_topic else GROUP_DELETED]]
    assert subscriber.ended


async def test_a_late_notification_does_not_change_why_a_stream_ended(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    subscriber.stop_reading()
    await bench.engine.delete_topic(TOPIC)

    bench.streams.deleted(TOPIC, GROUP)
    subscriber.resume_reading()
    await settle_down()

    assert closings(subscriber) == [[TOPIC_DELETED]]


async def test_leases_deleted_while_a_worker_reconnects_are_lost(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await bench.subscribe(max_events=1)
    await bench.dispatch("a")
    (lease,) = first.leases
    join = bench.engine.join

    async def and_delete(*arguments: object) -> None:
        await join(*arguments)  # type: ignore[arg-type]  # as they came
        await bench.engine.delete_group(TOPIC, GROUP)

    monkeypatch.setattr(bench.engine, "join", and_delete)

    second = await bench.subscribe(held=[lease])

    assert second.lost == [lease]
    assert closings(second) == [[GROUP_DELETED]]


async def test_a_drain_does_not_wait_for_deleted_leases(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.dispatch("a")
    await bench.engine.delete_group(TOPIC, GROUP)
    await settle_down()

    assert await bench.streams.drain(SECOND) == 0  # the clock stands still, so a drain that waits would never end
    assert subscriber.ended


async def test_a_paused_group_gets_only_heartbeats_until_it_is_resumed(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.engine.pause_group(TOPIC, GROUP)
    await bench.dispatch("a", new_event("b", delay_us=SECOND))
    await bench.advance(11 * SECOND)
    assert subscriber.ids == []
    assert [getattr(frame, "backlog", None) for frame in subscriber.frames] == [2]

    await bench.engine.resume_group(TOPIC, GROUP)
    await settle_down()

    assert subscriber.ids == ["a", "b"]


async def test_a_paused_group_asks_the_engine_for_nothing(bench: Bench) -> None:
    subscriber = await bench.subscribe()
    await bench.engine.pause_group(TOPIC, GROUP)
    await bench.advance(SECOND)
    before = bench.lease_calls(subscriber)

    for nth in range(20):
        await bench.dispatch(f"event {nth}")
    await bench.advance(5 * SECOND)

    assert bench.lease_calls(subscriber) == before
