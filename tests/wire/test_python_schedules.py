"""The Python client's schedules, without asyncio and with it, on a real server."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from duebus import CatchUp, Client, Overlap, aio
from duebus.errors import InvalidArgument, NotFound, TopicHasSchedules
from support.builders import unique_name

if TYPE_CHECKING:
    from support.server_process import ServerProcess

SPRING = datetime(2026, 3, 28, 12, tzinfo=UTC)


def test_a_schedule_is_put_read_and_deleted(client: Client, topic: str) -> None:
    name = unique_name("schedule")
    put = client.schedules.put(
        name,
        topic,
        {"kind": "daily"},
        cron="0 9 * * MON-FRI",
        zone="Europe/Berlin",
        attributes={"a": "b"},
        max_retries=2,
        key="reports",
        start=SPRING,
        end=SPRING + timedelta(days=3_000),
        max_runs=9,
        jitter=30,
        overlap="skip",
        catch_up=CatchUp.ALL,
        catch_up_window=timedelta(hours=2),
        note="for the accountants",
    )

    schedule = put.schedule
    assert client.schedules.get(name) == put
    assert (schedule.name, schedule.topic, schedule.json()) == (name, topic, {"kind": "daily"})
    assert (schedule.cron, schedule.every, schedule.zone) == ("0 9 * * MON-FRI", None, "Europe/Berlin")
    assert (schedule.attributes, schedule.max_retries, schedule.key) == ({"a": "b"}, 2, "reports")
    assert (schedule.start, schedule.max_runs, schedule.jitter) == (SPRING, 9, timedelta(seconds=30))
    assert (schedule.overlap, schedule.catch_up) == (Overlap.SKIP, CatchUp.ALL)
    assert (schedule.catch_up_window, schedule.note) == (timedelta(hours=2), "for the accountants")
    assert put.description == "at 09:00, Monday to Friday (Europe/Berlin)"
    assert len(put.next) == 9
    assert name in {each.schedule.name for each in client.schedules.list(page_size=1)}
    with pytest.raises(TopicHasSchedules):
        client.schedules.put(name, f"{topic}.other", b"", every=60)
    client.schedules.delete(name)
    with pytest.raises(NotFound):
        client.schedules.get(name)


async def test_with_asyncio(server: ServerProcess, topic: str) -> None:
    async with aio.Client(server.address) as client:
        name = unique_name("schedule")
        await client.schedules.put(name, topic, "text", every=timedelta(minutes=5), paused=True)
        assert (await client.schedules.get(name)).next == ()
        await client.schedules.resume(name)
        await client.schedules.pause(name)
        assert await client.schedules.trigger(name, request_id="r") == f"{name}@trigger@r"
        again = [await client.schedules.backfill(name, SPRING, SPRING + timedelta(minutes=10)) for _ in range(2)]
        assert [len(ids) for ids in again] == [2, 2]
        assert not set(again[0]) & set(again[1])
        async with client.subscribe(topic) as subscription:
            first = await anext(subscription)
        assert first.attributes["duebus-schedule"] == name


def test_a_preview(client: Client) -> None:
    preview = client.schedules.preview(cron="30 2 * * *", zone="Europe/Berlin", after=SPRING, count=2)

    assert preview.times == (datetime(2026, 3, 29, 1, tzinfo=UTC), datetime(2026, 3, 30, 0, 30, tzinfo=UTC))
    assert preview.description == "at 02:30 every day (Europe/Berlin)"
    assert len(client.schedules.preview(every=90).times) == 10


def test_what_is_wrong_is_named(client: Client, topic: str) -> None:
    with pytest.raises(InvalidArgument, match="cron or every"):
        client.schedules.put("x", topic, b"")
    with pytest.raises(InvalidArgument, match="cron or every"):
        client.schedules.preview(cron="* * * * *", every=60)
    with pytest.raises(InvalidArgument, match=r'overlap: must be one of "allow", "skip", "buffer_one"'):
        client.schedules.put("x", topic, b"", every=60, overlap="never")
    with pytest.raises(InvalidArgument, match=r"schedule.cron.*hour"):
        client.schedules.put("x", topic, b"", cron="0 25 * * *")


async def test_twenty_workers_put_a_schedule_at_once(server: ServerProcess, topic: str) -> None:
    """asynq 308 and 371: each process registers its schedules again."""
    name = unique_name("schedule")

    async def put() -> None:
        async with aio.Client(server.address) as client:
            await client.schedules.put(name, topic, b"", cron="* * * * * *")

    await asyncio.gather(*[put() for _ in range(20)])

    async with aio.Client(server.address) as client, client.subscribe(topic) as subscription:
        ids = [(await anext(subscription)).event_id for _ in range(2)]
        await client.schedules.delete(name)
    assert len(set(ids)) == 2
