"""Workers that vanish or come back: a vanished worker's events are delivered again after about a second."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from duebus.v1 import event_bus_pb2
from support.killable_worker import KillableWorker, killable_worker
from support.wire import duration, event, figure, ids, tokens

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server_process import ServerProcess
    from support.wire import Wire


@pytest.fixture
def killed_worker(server: ServerProcess, topic: str) -> Iterator[KillableWorker]:
    with killable_worker(server.address, topic, 64) as worker:
        yield worker


async def test_events_of_a_killed_worker_reach_another_within_three_seconds(
    wire: Wire, topic: str, killed_worker: KillableWorker
) -> None:
    names = [f"e{number}" for number in range(64)]
    await wire.dispatch(topic, *names)
    assert await killed_worker.held() == names
    other = await wire.subscribe(topic)
    assert (await wire.group(topic)).leased == 64

    killed_s = time.time()
    killed_worker.kill()
    again = await other.take(64)
    expires_us = max(delivery.lease_expires_at.ToMicroseconds() for delivery in again)
    leased_s = (expires_us - other.started.lease.ToMicroseconds()) / 1e6
    took_s = leased_s - killed_s

    figure(f"64 events of a killed worker were leased to another after {took_s:.3f} s")
    assert sorted(ids(again)) == sorted(names)
    assert {delivery.attempt for delivery in again} == {2}
    assert 1 <= took_s < 3, "by the engine's clock; the grace is a second"
    assert await wire.ack(*again) == []
    assert (await wire.topic(topic)).queued == 0


async def test_a_broken_stream_costs_the_requested_grace(wire: Wire, topic: str) -> None:
    lost = await wire.subscribe(topic, disconnect_grace=3, lease=60)
    await wire.dispatch(topic, "a")
    delivery = await lost.one()
    other = await wire.subscribe(topic)
    broken = time.monotonic()
    await lost.cancel()
    assert (await other.one()).event.id == "a"
    assert 3 <= time.monotonic() - broken < 25, "not the default, a second"
    (failure,) = await wire.ack(delivery)
    assert failure.reason == event_bus_pb2.LeaseFailure.REASON_EXPIRED


async def test_without_a_grace_the_events_are_ready_at_once(wire: Wire, topic: str) -> None:
    lost = await wire.subscribe(topic, disconnect_grace=0, lease=60)
    await wire.dispatch(topic, "a")
    await lost.one()
    other = await wire.subscribe(topic)
    await lost.cancel()
    assert (await other.one()).event.id == "a"


async def test_a_worker_can_settle_within_the_grace(wire: Wire, topic: str) -> None:
    lost = await wire.subscribe(topic, disconnect_grace=60)
    await wire.dispatch(topic, "a", "b")
    a, b = await lost.take(2)
    await lost.cancel()
    await wire.until_subscribers(topic, 0)
    assert await wire.ack(a) == []
    assert await wire.nack(b, release=True) == []
    assert (await wire.topic(topic)).queued == 1


async def test_a_worker_that_reconnects_keeps_its_leases(wire: Wire, topic: str) -> None:
    old = await wire.subscribe(topic, disconnect_grace=0.3, max_in_flight=4)
    await wire.dispatch(topic, "a", "b", "c", "d")
    held = await old.take(4)
    await wire.ack(held[3])
    await old.cancel()
    new = await wire.subscribe(topic, held_lease_tokens=tokens(held), max_in_flight=4)
    assert list(new.started.lost_lease_tokens) == [held[3].lease_token], "that one was acked"

    # Wait for the grace of the old stream: a lease of the same length begins and ends meanwhile.
    await wire.dispatch(f"{topic}.clock", event("tick", delay=0.4))
    await (await wire.subscribe(f"{topic}.clock")).one()
    assert (await wire.group(topic)).leased == 3
    await wire.dispatch(topic, "e", "f")
    assert ids(await new.take(1)) == ["e"], "three are held, and the window is four"
    assert await wire.ack(*held[:3]) == []
    assert ids(await new.take(1)) == ["f"]


async def test_a_worker_can_reconnect_before_its_old_stream_has_ended(wire: Wire, topic: str) -> None:
    """The connection is cut at one end only, so the server considers the old stream open."""
    old = await wire.subscribe(topic, disconnect_grace=0, consumer="worker-1", max_in_flight=3)
    await wire.dispatch(topic, "a", "b", "c")
    held = await old.take(3)
    new = await wire.subscribe(topic, held_lease_tokens=tokens(held), consumer="worker-1", max_in_flight=3)
    assert not new.started.lost_lease_tokens
    in_flight = {each.session_id: each.in_flight for each in (await wire.group(topic)).subscribers}
    assert in_flight == {old.started.session_id: 0, new.started.session_id: 3}

    await old.cancel()
    await wire.until_subscribers(topic, 1)
    assert (await wire.group(topic)).leased == 3, "the end of the old stream changes nothing"
    assert await wire.ack(*held) == []


async def test_named_leases_are_renewed(wire: Wire, topic: str) -> None:
    old = await wire.subscribe(topic, lease=0.3)
    await wire.dispatch(topic, "a")
    delivery = await old.one()
    new = await wire.subscribe(topic, held_lease_tokens=[delivery.lease_token], lease=60)
    assert not new.started.lost_lease_tokens
    await wire.dispatch(f"{topic}.clock", event("tick", delay=0.4))
    await (await wire.subscribe(f"{topic}.clock")).one()
    assert await wire.ack(delivery) == []


async def test_leases_that_were_lost_are_reported(wire: Wire, topic: str) -> None:
    old = await wire.subscribe(topic, disconnect_grace=0, max_in_flight=2)
    await wire.dispatch(topic, "a", "b")
    a, b = await old.take(2)
    await old.cancel()
    other = await wire.subscribe(topic, max_in_flight=1)
    (taken,) = await other.take(1)
    lost, kept = (a, b) if taken.event.id == "a" else (b, a)
    (failure,) = await wire.nack(lost, delay=duration(0))
    assert failure.reason == event_bus_pb2.LeaseFailure.REASON_EXPIRED

    new = await wire.subscribe(topic, held_lease_tokens=[*tokens([lost, kept]), "made up"], max_in_flight=1)
    assert list(new.started.lost_lease_tokens) == ["made up", *tokens([lost, kept])], "the old stream held none of them"
    assert ids(await new.take(1)) == [kept.event.id]
    assert await wire.ack(taken) == []


async def test_a_thousand_leases_can_be_named(wire: Wire, topic: str) -> None:
    old = await wire.subscribe(topic, max_in_flight=1_000)
    await wire.dispatch(topic, *[f"e{number}" for number in range(1_000)])
    held = await old.take(1_000)
    new = await wire.subscribe(topic, max_in_flight=1_000, held_lease_tokens=tokens(held))
    assert not new.started.lost_lease_tokens
    await old.cancel()
    assert await wire.ack(*held) == []
