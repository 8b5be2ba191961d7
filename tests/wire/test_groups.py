"""Groups: each gets every event once, whichever of its subscribers are connected."""

from __future__ import annotations

from typing import TYPE_CHECKING

from support.wire import event, ids

if TYPE_CHECKING:
    from support.wire import Wire


async def test_each_group_gets_every_event(wire: Wire, topic: str) -> None:
    billing, audit = await wire.subscribe(topic, group="billing"), await wire.subscribe(topic, group="audit")
    names = [f"e{number}" for number in range(50)]
    await wire.dispatch(topic, *names)
    assert ids(await billing.take(50)) == ids(await audit.take(50)) == names


async def test_groups_do_not_affect_each_other(wire: Wire, topic: str) -> None:
    billing, audit = await wire.subscribe(topic, group="billing"), await wire.subscribe(topic, group="audit")
    await wire.dispatch(topic, "a")
    of_billing, of_audit = await billing.one(), await audit.one()
    await wire.ack(of_billing)
    await wire.nack(of_audit, error="later", release=True)
    again = await audit.one()
    assert (again.event.id, again.group) == ("a", "audit")
    assert (await wire.topic(topic)).queued == 1
    await wire.ack(again)
    assert (await wire.topic(topic)).queued == 0


async def test_workers_of_one_group_share_its_events(wire: Wire, topic: str) -> None:
    workers = [await wire.subscribe(topic, max_in_flight=10) for _ in range(5)]
    await wire.dispatch(topic, *[f"e{number}" for number in range(50)])
    taken = [ids(await worker.take(10)) for worker in workers]
    assert sorted(name for names in taken for name in names) == sorted(f"e{number}" for number in range(50))


async def test_the_first_group_gets_what_was_dispatched_before_it_and_later_ones_do_not(wire: Wire, topic: str) -> None:
    await wire.dispatch(topic, "before", event("delayed", delay=3))
    first = await wire.subscribe(topic, group="first")
    assert ids(await first.take(1)) == ["before"]
    second = await wire.subscribe(topic, group="second")
    await wire.dispatch(topic, "after")
    assert ids(await first.take(2)) == ["after", "delayed"]
    assert ids(await second.take(1)) == ["after"]
    assert (await wire.group(topic, "second")).scheduled == 0


async def test_a_group_without_a_subscriber_keeps_its_events(wire: Wire, topic: str) -> None:
    await (await wire.subscribe(topic, group="billing")).cancel()
    await wire.until_subscribers(topic, 0, "billing")
    await wire.dispatch(topic, "a", "b")
    assert ids(await (await wire.subscribe(topic, group="billing")).take(2)) == ["a", "b"]


async def test_an_empty_group_means_default(wire: Wire, topic: str) -> None:
    stream = await wire.subscribe(topic)
    await wire.dispatch(topic, "a")
    assert (await stream.one()).group == "default"
    assert (await wire.subscribe(topic, group="default")).started.session_id
    assert [group.group for group in (await wire.topic(topic)).groups] == ["default"]


async def test_topics_do_not_share_events(wire: Wire, topic: str) -> None:
    stream, other = await wire.subscribe(topic), await wire.subscribe(f"{topic}.x")
    await wire.dispatch(f"{topic}.x", "same id")
    await wire.dispatch(topic, "same id")
    assert (await stream.one()).topic == topic
    assert (await other.one()).topic == f"{topic}.x"


async def test_nothing_dispatched_after_started_is_missed(wire: Wire, topic: str) -> None:
    """Not even an event that another client dispatches a moment later."""
    for number in range(20):
        group = f"group-{number}"
        stream = await wire.subscribe(topic, group=group)
        await wire.dispatch(topic, f"e{number}")
        assert ids(await stream.take(1)) == [f"e{number}"]
