"""``duebus journal stats``, ``export`` and ``import``: what a directory holds, and a directory that holds the same."""

from __future__ import annotations

import base64
import errno
import hashlib
from typing import TYPE_CHECKING, Any

import pytest
from duebus.cli import held_lines
from duebus_server.domain.clock import HOUR, SECOND, ManualClock
from duebus_server.domain.errors import UnusableStorage
from duebus_server.domain.transfer import HeldEvent
from duebus_server.engine.local.journal.contents import exported
from duebus_server.engine.local.journal.importing import import_held
from journal.engines import opened
from journal.held import KEYED, event, fill, fill_with_key
from support.cli import Cli
from support.engines import START_US

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus_server.domain.transfer import Held


def files(path: Path) -> dict[str, str]:
    """A checksum of each file of a directory, but the lock, which names the process."""
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in path.iterdir() if one.name != "lock"}


def names(path: Path) -> list[str]:
    """The files and directories in a directory."""
    return sorted(one.name for one in path.iterdir())


def export(path: Path) -> list[dict[str, Any]]:
    """The lines of an export."""
    done = Cli().run("journal", "export", str(path))
    assert (done.status, done.err) == (0, "")
    return done.records


async def test_an_export_has_topics_groups_and_events_with_their_state(tmp_path: Path) -> None:
    await fill(tmp_path)
    before = files(tmp_path)
    first, *lines, last = export(tmp_path)

    # then: the ends of the file
    assert first == {"kind": "export", "format": 1}
    assert last == {"kind": "end", "lines": len(lines)}
    assert files(tmp_path) == before

    # and: settings
    topic, *groups = [line for line in lines if line["kind"] != "event"][:3]
    assert topic == {
        "kind": "topic",
        "topic": "topic",
        "retry_policy": {"backoff_initial_seconds": 2.0},
        "lease_seconds": 60.0,
    }
    assert groups == [
        {"kind": "group", "topic": "topic", "group": "default", "paused": False, "retry_policy": {}},
        {"kind": "group", "topic": "topic", "group": "other", "paused": True, "retry_policy": {"max_retries": 7}},
    ]

    # and: events, each with its state in each group
    events = {line["event"]["id"]: line for line in lines if line["kind"] == "event"}
    assert list(events) == ["dead", "retried", "leased", "expired", "acked", "scheduled", "plain", "waits"]
    states = {name: {copy["group"]: copy["state"] for copy in line["groups"]} for name, line in events.items()}
    assert states == {
        "dead": {"default": "dead", "other": "ready"},
        "retried": {"default": "scheduled", "other": "ready"},
        "leased": {"default": "leased", "other": "ready"},
        "expired": {"default": "ready", "other": "ready"},
        "acked": {"other": "ready"},
        "scheduled": {"default": "scheduled", "other": "scheduled"},
        "plain": {"default": "ready", "other": "ready"},
        "waits": {"": "ready"},
    }
    dead = events["dead"]["groups"][0]
    assert (dead["last_error"], dead["attempts"]) == ("hopeless", 1)
    assert [attempt["outcome"] for attempt in dead["history"]] == ["dead"]
    leased = events["leased"]["groups"][0]
    assert (leased["attempts"], leased["consumer"]) == (1, "host-1")
    assert leased["history"][-1]["outcome"] == "under_way"
    assert "lease_expires_at" in leased
    assert events["expired"]["groups"][0]["free_attempts"] == 1
    assert base64.b64decode(events["plain"]["event"]["data"]) == b"data of plain"
    assert events["plain"]["event"]["content_type"] == "text/plain"
    assert events["plain"]["event"]["attributes"] == {"tenant": "a"}
    assert events["plain"]["event"]["max_retries"] == 3


async def test_an_export_that_is_read_again_is_what_the_directory_holds(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    with exported(tmp_path / "data") as held:
        whole = list(held)
    file = tmp_path / "export.jsonl"
    file.write_text("\n".join(held_lines.written(whole)) + "\n")
    assert list(held_lines.read(file)) == whole


async def test_due_times_are_exported_by_the_hosts_clock(tmp_path: Path) -> None:
    # given: a host's clock that was set an hour ahead since the engine's began
    clock = ManualClock(START_US)
    clock.set_host(HOUR)
    async with opened(tmp_path, clock=clock) as one:
        await one.topic.join()
        await one.topic.dispatch("event")
    with exported(tmp_path) as held:
        (found,) = [one for one in held if isinstance(one, HeldEvent)]
    assert found.copies[0].deliver_at_us == START_US + HOUR


async def test_stats_tell_what_is_needed_of_each_segment(tmp_path: Path) -> None:
    clock = ManualClock(START_US)
    async with opened(tmp_path, clock=clock, segment_bytes=600) as one:
        await one.topic.join()
        for number in range(4):
            await one.topic.dispatch(f"event-{number}")
            clock.advance(SECOND)
    before = files(tmp_path)
    found = Cli().run("journal", "stats", str(tmp_path), "--json")
    assert files(tmp_path) == before
    segments = {record["segment"]: record for record in found.records}
    assert len(segments) > 1
    assert sum(record["events"] for record in segments.values()) == 4
    for number, record in segments.items():
        assert record["bytes"] == (tmp_path / f"{number:010}.log").stat().st_size
        assert record["live_bytes"] + record["dead_bytes"] == record["bytes"]
        assert (record["live_bytes"] > 0) is (record["events"] > 0)
        assert (record["oldest_dispatched_at"] is not None) is (record["events"] > 0)

    # and: for people, with a line for all
    lines = Cli().run("journal", "stats", str(tmp_path)).out.splitlines()
    assert lines[0].split() == ["SEGMENT", "BYTES", "LIVE", "DEAD", "EVENTS", "OLDEST"]
    assert len(lines) == len(segments) + 2
    assert lines[-1].split()[0] == "all"


async def test_a_directory_in_use_is_refused_with_the_process_that_uses_it(tmp_path: Path) -> None:
    async with opened(tmp_path):
        for command in ("stats", "export"):
            assert "is in use by process" in Cli().run("journal", command, str(tmp_path)).complaint


async def test_a_damaged_directory_is_not_exported_and_a_torn_end_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as one:
        await one.topic.join()
        await one.topic.dispatch(event("first"))
        await one.topic.dispatch(event("second"))
    segment = tmp_path / "0000000001.log"
    data = segment.read_bytes()
    segment.write_bytes(data[:-5])
    assert [line["event"]["id"] for line in export(tmp_path) if line["kind"] == "event"] == ["first"]
    assert segment.read_bytes() == data[:-5]
    segment.write_bytes(data.replace(b"data of first", b"data of fires"))
    assert "duebus journal verify" in Cli().run("journal", "export", str(tmp_path)).complaint


async def exported_file(path: Path) -> Path:
    """The export of a filled directory, as a file."""
    await fill(path / "data")
    file = path / "export.jsonl"
    file.write_text(Cli().run("journal", "export", str(path / "data")).out)
    return file


async def test_an_import_makes_a_directory_that_holds_what_was_exported(tmp_path: Path) -> None:
    file = await exported_file(tmp_path)
    new = tmp_path / "some" / "new"
    done = Cli().run("journal", "import", str(file), "--to", str(new), "--json")
    assert (done.status, done.err, done.record) == (0, "", {"stored": 8, "skipped": 0})

    # then: it is the same, but for the lease, which is released
    before, after = export(tmp_path / "data"), export(new)
    released = {"kind": "event", "topic": "topic"} | next(line for line in after if is_event(line, "leased"))
    assert released["groups"][0].pop("attempts") == 0
    assert released["groups"][0]["state"] == "ready"
    assert released["groups"][0]["history"][-1]["outcome"] == "released"
    assert [line for line in after if not is_event(line, "leased")] == [
        line for line in before if not is_event(line, "leased")
    ]

    # and: an engine goes on with it
    async with opened(new, clock=ManualClock(START_US + 2 * HOUR)) as one:
        await one.topic.join()
        leased = await one.topic.lease()
        assert sorted(each.event_id for each in leased) == ["expired", "leased", "plain", "retried", "scheduled"]
        await one.topic.ack(*leased)
        await one.topic.redrive_named("dead")
        assert (await one.topic.lease_one()).event_id == "dead"
        await one.topic.delete_group("other")
        again = await one.topic.dispatch("plain")
        assert list(again.duplicate_event_ids) == ["plain"]


def is_event(line: dict[str, Any], event_id: str) -> bool:
    """Whether a line of an export is this event."""
    return bool(line["kind"] == "event" and line["event"]["id"] == event_id)


async def test_an_import_fills_one_segment_after_the_other(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    with exported(tmp_path / "data") as held:
        whole = list(held)
    assert import_held(tmp_path / "new", whole, segment_bytes=600) == 8
    assert len(list((tmp_path / "new").glob("*.log"))) > 3
    with exported(tmp_path / "new") as held:
        assert [str(one) for one in held if "leased" not in str(one)] == [
            str(one) for one in whole if "leased" not in str(one)
        ]


async def test_an_import_that_fails_leaves_no_directory(tmp_path: Path) -> None:
    file = await exported_file(tmp_path)
    used = files(tmp_path / "data")
    taken = Cli().run("journal", "import", str(file), "--to", str(tmp_path / "data"))
    assert taken.complaint.endswith("is not empty: an import makes a new data directory")
    assert files(tmp_path / "data") == used

    # when: a line is wrong, and a setting is for Redis
    file.write_text(file.read_text().replace('"ready"', '"done"', 1))
    assert f"{file}: line" in Cli().run("journal", "import", str(file), "--to", str(tmp_path / "new")).complaint
    other = Cli().run("journal", "import", str(file), "--to", str(tmp_path / "new"), "--namespace", "a")
    assert other.status != 0
    assert names(tmp_path) == ["data", "export.jsonl"]


def broken_after_two(whole: list[Held]) -> Iterator[Held]:
    """What a reader yields before it fails."""
    yield from whole[:2]
    raise OSError(errno.EIO, "no more")


async def test_an_import_that_is_interrupted_leaves_nothing_behind(tmp_path: Path) -> None:
    await fill(tmp_path / "data")
    with exported(tmp_path / "data") as held:
        whole = list(held)
    with pytest.raises(UnusableStorage, match="no more"):
        import_held(tmp_path / "new", broken_after_two(whole))
    assert names(tmp_path) == ["data"]


async def test_the_order_of_a_key_is_the_same_after_an_import(tmp_path: Path) -> None:
    await fill_with_key(tmp_path / "data")
    file = tmp_path / "export.jsonl"
    file.write_text(Cli().run("journal", "export", str(tmp_path / "data")).out)
    done = Cli().run("journal", "import", str(file), "--to", str(tmp_path / "new"), "--json")
    assert (done.status, done.record) == (0, {"stored": 3, "skipped": 0})

    async with opened(tmp_path / "new", clock=ManualClock(START_US + HOUR)) as one:
        await one.topic.join()
        for event_id in KEYED:
            leased = await one.topic.lease_one()
            assert leased.event_id == event_id
            await one.topic.ack(leased)
