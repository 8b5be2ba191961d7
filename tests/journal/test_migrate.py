"""``duebus migrate`` and ``duebus journal import``: from a data directory to a real Redis."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.clock import HOUR, MINUTE, SECOND, ManualClock
from duebus_server.domain.errors import NotFound
from duebus_server.domain.retry import FREE_EXPIRIES
from duebus_server.domain.states import EventState
from duebus_server.domain.transfer import HeldCopy, HeldEvent
from duebus_server.domain.views import AttemptOutcome
from journal.engines import opened
from journal.held import KEYED, fill, fill_with_key
from support.checked_keys import check_keys_of, undeclared_keys
from support.cli import Cli, Result
from support.redis_bus import RedisBus, redis_bus
from support.redis_engine import shared_redis
from support.redis_server import free_port
from support.topics import ids

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from duebus_server.domain.views import EventInfo

TOPIC = "topic"


@pytest.fixture
async def bus() -> AsyncIterator[RedisBus]:
    """A bus on the Redis that tests share."""
    async with redis_bus(shared_redis().url) as found:
        yield found


def run(bus: RedisBus, *command: str) -> Result:
    """Run a command that stores in this bus."""
    return Cli().run(*command, "--to", bus.url, "--namespace", bus.namespace)


def migrate(bus: RedisBus, path: Path) -> tuple[int, int]:
    """Migrate a directory. Returns how many events were stored, and how many were there."""
    done = run(bus, "migrate", "--from", str(path), "--json")
    assert (done.status, done.err) == (0, "")
    return done.record["stored"], done.record["skipped"]


def a_minute_ago() -> int:
    """When a journal begins whose undelayed events are all due by now."""
    return time.time_ns() // 1_000 - MINUTE


def ordered(info: EventInfo) -> EventInfo:
    """An event with its groups in the order of their names."""
    return replace(info, groups=sorted(info.groups, key=lambda one: one.group))


async def test_redis_has_what_the_directory_had(bus: RedisBus, tmp_path: Path) -> None:
    # given: what the local engine tells of every event
    now_us = a_minute_ago()
    await fill(tmp_path, now_us)
    before: dict[str, EventInfo] = {}
    async with opened(tmp_path, clock=ManualClock(now_us + 2 * SECOND)) as one:
        local = await one.engine.get_topic(TOPIC)
        for event_id in ("dead", "retried", "expired", "acked", "scheduled", "plain"):
            before[event_id] = ordered(await one.engine.get_event(TOPIC, event_id))

    # when
    assert migrate(bus, tmp_path) == (8, 0)

    # then: the same of Redis, but for the ephemeral group, and the event that was leased
    replica = await bus.replica()
    topic = replica.topic(TOPIC)
    for event_id, info in before.items():
        groups = [group for group in info.groups if group.group != "instance"]
        assert ordered(await replica.engine.get_event(TOPIC, event_id)) == replace(info, groups=groups), event_id
    leased = await topic.group_info("leased")
    assert (leased.state, leased.attempts, leased.free_attempts) == (EventState.READY, 0, 0)
    assert [one.outcome for one in leased.history] == [AttemptOutcome.RELEASED]

    # and: settings, pauses, counts
    there = await replica.engine.get_topic(TOPIC)
    assert there.config == local.config
    assert there.queued == local.queued
    assert [(one.group, one.paused, one.retry_policy) for one in there.groups] == [
        (one.group, one.paused, one.retry_policy) for one in local.groups if one.group != "instance"
    ]
    assert await topic.counts() == {EventState.SCHEDULED: 2, EventState.READY: 3, EventState.DEAD: 1}


async def test_what_was_migrated_is_delivered_retried_and_redriven(bus: RedisBus, tmp_path: Path) -> None:
    # given: everything that was scheduled an hour ahead is due in Redis
    await fill(tmp_path, now_us=a_minute_ago() - HOUR)
    migrate(bus, tmp_path)
    replica = await bus.replica()
    topic = replica.topic(TOPIC)
    await topic.join()

    # then: in the order of their due times, with their attempts
    leased = {event.event_id: event for event in await topic.lease()}
    assert list(leased) == ["leased", "expired", "plain", "retried", "scheduled"]
    assert {event.event_id: event.attempt for event in leased.values()} == {
        "leased": 1,
        "expired": 2,
        "plain": 1,
        "scheduled": 1,
        "retried": 2,
    }
    assert leased["retried"].last_error == "failed"
    assert await topic.ack(*leased.values()) == [None] * 5

    # and: the dead letter can be redriven, and has its history
    await topic.redrive_named("dead")
    again = await topic.lease_one()
    assert (again.event_id, again.attempt, again.last_error) == ("dead", 1, "hopeless")
    await topic.ack(again)
    assert await topic.counts() == {}

    # and: the other group has its own copies, once it is resumed
    await topic.join("other-1", "other")
    await topic.resume("other")
    others = await topic.lease(session="other-1", group="other")
    assert ids(others) == ["dead", "retried", "leased", "expired", "acked", "plain", "scheduled"]
    assert await topic.ack(*others, group="other") == [None] * 7
    assert await topic.queued() == 0
    assert bus.raw.hlen(bus.key(TOPIC, "events")) == bus.raw.hlen(bus.key(TOPIC, "refs")) == 0

    # and: what waited for a first group goes to it
    unclaimed = replica.topic("unclaimed")
    await unclaimed.join()
    assert (await unclaimed.lease_one()).event_id == "waits"


async def test_the_order_of_a_key_is_the_same_in_redis(bus: RedisBus, tmp_path: Path) -> None:
    await fill_with_key(tmp_path, now_us=a_minute_ago() - HOUR)
    assert migrate(bus, tmp_path) == (3, 0)
    topic = (await bus.replica()).topic(TOPIC)
    await topic.join()
    for event_id in KEYED:
        leased = await topic.lease_one()
        assert leased.event_id == event_id
        await topic.ack(leased)


async def test_a_migration_that_is_repeated_adds_nothing(bus: RedisBus, tmp_path: Path) -> None:
    await fill(tmp_path, now_us=a_minute_ago())
    assert migrate(bus, tmp_path) == (8, 0)
    contents = bus.contents(TOPIC)
    assert migrate(bus, tmp_path) == (0, 8)
    assert bus.contents(TOPIC) == contents

    # and: not what a worker has done since
    topic = (await bus.replica()).topic(TOPIC)
    await topic.join()
    await topic.ack(*await topic.lease())
    await topic.delete_group("other")
    assert migrate(bus, tmp_path)[1] == 8


async def test_an_export_is_imported_as_a_migration_would(bus: RedisBus, tmp_path: Path) -> None:
    await fill(tmp_path / "data", now_us=a_minute_ago())
    file = tmp_path / "export.jsonl"
    file.write_text(Cli().run("journal", "export", str(tmp_path / "data")).out)
    done = run(bus, "journal", "import", str(file), "--json")
    assert (done.status, done.record) == (0, {"stored": 8, "skipped": 0})
    assert migrate(bus, tmp_path / "data") == (0, 8)


async def test_a_file_with_a_wrong_line_stores_nothing_and_names_the_line(bus: RedisBus, tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    lines = Cli().run("journal", "export", str(tmp_path / "data")).out.splitlines()
    assert '"kind":"event"' in lines[4]
    file = tmp_path / "export.jsonl"
    file.write_text("\n".join([*lines[:8], lines[8].replace('"ready"', '"done"'), *lines[9:]]))
    assert f"{file}: line 9: event.groups." in run(bus, "journal", "import", str(file)).complaint
    assert bus.stored_keys() == set()


async def test_events_go_to_their_partitions(bus: RedisBus, tmp_path: Path) -> None:
    await fill(tmp_path, now_us=a_minute_ago() - HOUR)
    replica = await bus.replica()
    topic = replica.topic(TOPIC)
    await topic.configure(partitions=3)
    assert migrate(bus, tmp_path) == (8, 0)
    assert migrate(bus, tmp_path) == (0, 8)
    await topic.join()
    assert await topic.counts() == {EventState.READY: 5, EventState.DEAD: 1}
    again = await topic.dispatch("scheduled")
    assert again.duplicate_event_ids == ["scheduled"]


async def test_what_waits_for_a_first_group_goes_to_those_that_redis_has(bus: RedisBus, tmp_path: Path) -> None:
    await fill(tmp_path)
    unclaimed = (await bus.replica()).topic("unclaimed")
    for group in ("default", "second"):
        await unclaimed.join(group, group)
    await unclaimed.join("viewer", "instance", ephemeral_us=HOUR)
    migrate(bus, tmp_path)
    for group in ("default", "second"):
        assert ids(await unclaimed.lease(session=group, group=group)) == ["waits"]
    assert await unclaimed.counts("instance") == {}


async def test_a_suspect_stays_one(bus: RedisBus, tmp_path: Path) -> None:
    now_us = a_minute_ago()
    clock = ManualClock(now_us)
    async with opened(tmp_path, clock=clock) as one:
        await one.topic.join()
        await one.topic.dispatch("poison")
        for _ in range(FREE_EXPIRIES):
            await one.topic.extend(await one.topic.lease_one(), lease_us=SECOND)
            clock.advance(2 * SECOND)
            await one.engine.expire_leases()
    migrate(bus, tmp_path)
    topic = (await bus.replica()).topic(TOPIC)
    await topic.join()
    (found,) = await topic.lease()
    assert (found.event_id, found.is_suspect, found.attempt) == ("poison", True, FREE_EXPIRIES + 1)


async def test_what_is_dead_everywhere_is_not_queued_until_it_is_redriven(bus: RedisBus) -> None:
    # given: a Redis that checks keys as a cluster does
    replica = await bus.replica()
    check_keys_of(replica.engine)
    topic = replica.topic(TOPIC)
    await topic.join()
    await topic.join("other-1", "other")

    # when
    for event_id, groups in {"alone": ("default",), "both": ("default", "other")}.items():
        copies = [HeldCopy(group, EventState.DEAD, 1, 1, dead_us=2) for group in groups]
        assert await replica.engine.import_events(TOPIC, [HeldEvent(TOPIC, event_id, b"", 0, "", None, copies)]) == 1

    # then
    assert await topic.queued() == 0
    await topic.redrive_named("alone", "both")
    assert await topic.queued() == 2
    assert await topic.ack(*await topic.lease()) == [None, None]
    assert await topic.queued() == 0
    assert await undeclared_keys(replica.engine) == set()


async def test_a_group_that_is_gone_by_then_is_told_and_nothing_is_stored(bus: RedisBus) -> None:
    replica = await bus.replica()
    await replica.topic(TOPIC).configure(max_retries=1)
    event = HeldEvent(TOPIC, "event", b"", 0, "", None, [HeldCopy("gone", EventState.READY, 0)])
    with pytest.raises(NotFound, match="gone"):
        await replica.engine.import_events(TOPIC, [event])
    assert await replica.topic(TOPIC).queued() == 0


async def test_a_replica_with_a_worker_is_told_of_what_is_due(bus: RedisBus, tmp_path: Path) -> None:
    await fill(tmp_path)
    replica = await bus.replica()
    topic = replica.topic(TOPIC)
    await topic.join()
    assert await topic.lease() == []
    migrate(bus, tmp_path)
    await replica.recorder.until_due(TOPIC, "default", lambda at_us: at_us > 0)


async def test_a_redis_that_is_away_fails_the_command_in_one_line(tmp_path: Path) -> None:
    await fill(tmp_path)
    away = Cli().run("migrate", "--from", str(tmp_path), "--to", f"redis://127.0.0.1:{free_port()}")
    assert "run it again" in away.complaint
    assert "redis_url" in Cli().run("migrate", "--from", str(tmp_path), "--to", "nonsense").complaint


async def test_a_directory_in_use_is_refused_with_the_process_that_uses_it(bus: RedisBus, tmp_path: Path) -> None:
    async with opened(tmp_path):
        assert "is in use by process" in run(bus, "migrate", "--from", str(tmp_path)).complaint
    assert bus.stored_keys() == set()
