"""When events come: never early, and hardly late."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from google.protobuf.timestamp_pb2 import Timestamp
from support.wire import duration, event, figure, ids, us

if TYPE_CHECKING:
    from support.wire import Wire

LATE_US = 500_000
"""Far more than it takes, for machines that are busy with other things; the tests print what it took."""


def now_us() -> int:
    """The host's clock, which is the engine's as well."""
    return time.time_ns() // 1_000


async def test_an_event_without_a_delay_comes_at_once(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    for number in range(20):
        await wire.dispatch(topic, f"e{number}")
        delivery = await stream.one()
        took_us = now_us() - us(delivery.dispatched_at)
        await wire.ack(delivery)
    figure(f"instant event: {took_us / 1_000:.2f} ms")
    assert took_us < LATE_US


async def test_delayed_events_are_never_early_and_hardly_late(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    delays_ms = [300, 7, 150, 33, 33, 1, 80, 220, 33, 500]
    await wire.dispatch(
        topic, *[event(f"{delay}-{place}", delay=delay / 1_000) for place, delay in enumerate(delays_ms)]
    )
    late_us: list[int] = []
    order: list[int] = []
    for _ in delays_ms:
        delivery = await stream.one()
        received_us = now_us()
        delay_ms = int(delivery.event.id.partition("-")[0])
        assert us(delivery.deliver_at) == us(delivery.dispatched_at) + delay_ms * 1_000
        late_us.append(received_us - us(delivery.deliver_at))
        order.append(delay_ms)
    figure(f"late by {min(late_us) / 1_000:.2f} to {max(late_us) / 1_000:.2f} ms")
    assert min(late_us) >= 0, "never early"
    assert max(late_us) < LATE_US
    assert order == sorted(delays_ms)


async def test_an_event_may_be_due_at_a_moment(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    moment = Timestamp()
    moment.FromMicroseconds(now_us() + 200_000)
    await wire.dispatch(topic, event("a", deliver_at=moment))
    delivery = await stream.one()
    assert delivery.deliver_at == moment
    assert 0 <= now_us() - us(moment) < LATE_US


async def test_a_sooner_event_overtakes_one_that_is_waited_for(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, event("later", delay=0.25))
    await wire.dispatch(topic, event("sooner", delay=0.1))
    await wire.dispatch(topic, event("now"))
    assert ids(await stream.take(3)) == ["now", "sooner", "later"]


async def test_no_sweep_stands_between_due_and_delivered(wire: Wire, topic: str) -> None:
    """Every event of a series that is spread over a second comes at its own time, not with the others."""
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, *[event(f"e{number}", delay=number / 50) for number in range(50)])
    late_us = []
    for _ in range(50):
        delivery = await stream.one()
        late_us.append(now_us() - us(delivery.deliver_at))
    late_us.sort()
    figure(f"late by {late_us[25] / 1_000:.2f} ms in the middle, {late_us[-1] / 1_000:.2f} ms at most")
    assert late_us[0] >= 0
    assert late_us[25] < 100_000, "a sweep once a second would make it 500 ms"


async def test_a_retry_is_as_punctual(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    await wire.nack(await stream.one(), delay=duration(0.1))
    again = await stream.one()
    assert 0 <= now_us() - us(again.deliver_at) < LATE_US
    assert us(again.deliver_at) >= us(again.dispatched_at) + 100_000


async def test_an_expired_lease_comes_to_a_waiting_worker_without_a_sweep(wire: Wire, topic: str) -> None:
    """The sweep is once a second; what a worker waits for is there when the lease runs out."""
    late_us = []
    for number in range(5):
        name = f"{topic}.{number}"
        holder = await wire.subscribe(name, lease=0.1, max_in_flight=1)
        await wire.dispatch(name, "a")
        first = await holder.one()
        again = await (await wire.subscribe(name, lease=60)).one()
        late_us.append(now_us() - us(first.lease_expires_at))
        assert (again.event.id, again.attempt) == ("a", 2)
        assert again.fencing_token > first.fencing_token
    late_us.sort()
    figure(f"an expired lease was with another after {late_us[2] / 1_000:.2f} ms")
    assert late_us[0] >= 0
    assert late_us[2] < 300_000
