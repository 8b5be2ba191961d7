"""`client.admin` of both clients against a real server: results match what happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from duebus import Cancelled, Client, NewEvent, Purged, Redriven, Removed, Rescheduled, aio, errors

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from support.server_process import ServerProcess

NEW_YEAR = datetime(2030, 1, 1, tzinfo=UTC)


@pytest.fixture
async def client(server: ServerProcess) -> AsyncIterator[aio.Client]:
    async with aio.Client(server.address, timeout=10) as client:
        yield client


@pytest.fixture
def sync_client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=10) as client:
        yield client


async def dead_letters(client: aio.Client, topic: str, count: int) -> None:
    async with client.subscribe(topic, consumer="w-1") as subscription:
        await client.dispatch_many(topic, [NewEvent(data=number, id=f"e{number}") for number in range(count)])
        for number in range(count):
            delivery = await anext(subscription)
            await client.nack(delivery, dead_letter=True, error="card" if number % 2 else "busy")


async def states(client: aio.Client, topic: str) -> tuple[int, int, int, int]:
    (group,) = (await client.admin.get_topic(topic)).groups
    return group.scheduled, group.ready, group.leased, group.dead


async def test_dead_letters_are_redriven_and_purged(client: aio.Client, topic: str) -> None:
    await dead_letters(client, topic, 10)

    assert await client.admin.redrive(topic, error_contains="card", rate=0.01) == Redriven(5)
    assert await states(client, topic) == (4, 1, 0, 5)
    assert await client.admin.redrive(topic, event_ids=["e0", "e1"]) == Redriven(1)
    assert await client.admin.purge(topic, min_age=timedelta(hours=1)) == Purged(0)
    assert await client.admin.purge(topic, event_ids="e2") == Purged(1)
    assert await client.admin.purge(topic) == Purged(3)
    assert await states(client, topic) == (4, 2, 0, 0)
    (redriven,) = (await client.admin.get_event(topic, "e0")).groups
    assert redriven.history[-1].redriven_at is not None
    assert (redriven.attempts, redriven.last_error) == (0, "busy")


async def test_events_are_cancelled_and_rescheduled(client: aio.Client, topic: str) -> None:
    async with client.subscribe(topic, max_in_flight=1) as subscription:
        await client.dispatch(topic, 1, id="leased")
        await anext(subscription)
        await client.dispatch_many(topic, [NewEvent(data=1, id=each, delay=3600) for each in ("a", "b", "c")])

        assert await client.admin.reschedule(topic, ["a", "b"], at=NEW_YEAR) == Rescheduled(2)
        with pytest.raises(errors.ConcurrentModification, match="leased"):
            await client.admin.reschedule(topic, ["c", "leased"], delay=0)
        assert await client.admin.cancel(topic, ["c", "leased", "gone"]) == Cancelled(1, ("leased",), ("gone",))

    moved = [event.groups[0].deliver_at async for event in client.admin.list_events(topic, "scheduled")]
    assert moved == [NEW_YEAR, NEW_YEAR]


async def test_groups_are_paused_resumed_configured_and_deleted(client: aio.Client, topic: str) -> None:
    async with client.subscribe(topic, group="mail") as mail:
        await client.admin.pause_group(topic, "mail")
        await client.dispatch(topic, 1)
        assert (await client.admin.get_topic(topic)).groups[0].paused
        await client.admin.resume_group(topic, "mail")
        assert (await anext(mail)).json() == 1

        own = await client.admin.configure_topic(topic, group="mail", max_retries=9)
        whole = await client.admin.configure_topic(topic, lease=45, max_queued=0)
        assert (own.retry_policy.max_retries, whole.retry_policy.max_retries) == (9, 3)
        assert (whole.lease, whole.max_queued, whole.partitions) == (timedelta(seconds=45), 0, 1)
        info = await client.admin.get_topic(topic)
        assert info.config == whole
        assert info.groups[0].retry_policy == own.retry_policy

        assert await client.admin.delete_group(topic, "mail") == Removed(1)
        assert [delivery async for delivery in mail] == []  # notified, and ended
    assert await client.admin.delete_topic(topic) == Removed(0)


def test_wrong_arguments_are_named(sync_client: Client, topic: str) -> None:
    admin = sync_client.admin
    with pytest.raises(errors.NotFound, match=topic):
        admin.purge(topic)
    with sync_client.subscribe(topic):
        pass
    with pytest.raises(errors.NotFound, match="nobody"):
        admin.pause_group(topic, "nobody")
    with pytest.raises(errors.InvalidArgument) as raised:
        admin.configure_topic(topic, backoff_max=0.001)
    assert raised.value.field_violations[0].field == "config.retry_policy.backoff_max"
    with pytest.raises(errors.InvalidArgument, match=r"^rate: "):
        admin.redrive(topic, rate=-1)
    with pytest.raises(errors.InvalidArgument, match="event_ids"):
        admin.cancel(topic, [])
