"""``duebus journal``: damage is reported, and discarded only on request."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.errors import UnusableStorage
from journal.engines import JournaledEngine, opened
from support.cli import Cli

if TYPE_CHECKING:
    from pathlib import Path

    from support.topics import TopicDriver


async def three_events(path: Path) -> Path:
    """Make a journal that holds three events, each with a record of its own. Returns the file of their segment."""
    async with opened(path) as one:
        await one.topic.join()
        for event in ("first", "second", "third"):
            await one.topic.dispatch(event)
    return path / "0000000001.log"


def damage(segment: Path, text: bytes) -> int:
    """Flip a bit of the record that holds this text. Returns its offset in the file."""
    data = bytearray(segment.read_bytes())
    position = data.index(text)
    data[position] ^= 1
    segment.write_bytes(data)
    return position


async def held(topic: TopicDriver) -> set[str]:
    """The ids of the events that wait."""
    return {event.event_id for event in await topic.lease()}


async def test_a_journal_without_damage_is_as_it_should_be(tmp_path: Path) -> None:
    await three_events(tmp_path)
    found = Cli().run("journal", "verify", str(tmp_path))
    assert (found.status, found.out.splitlines()[0]) == (0, "1 segments, 6 records")


async def test_a_damaged_record_stops_the_start_until_it_is_discarded(tmp_path: Path) -> None:
    # given: damage in the middle
    segment = await three_events(tmp_path)
    damage(segment, b"body of second")
    with pytest.raises(UnusableStorage, match=r"0000000001\.log: \d+ bytes at offset \d+ can't be read.*verify"):
        await JournaledEngine(tmp_path).engine.start()

    # then: verify reports where, and changes nothing
    before = segment.read_bytes()
    verified = Cli().run("journal", "verify", str(tmp_path))
    assert verified.status == 1
    assert f"damaged: {segment}: " in verified.out
    assert f"duebus journal repair {tmp_path}" in verified.err
    assert segment.read_bytes() == before

    # and: repair does nothing before someone agrees
    asked = Cli().run("journal", "repair", str(tmp_path))
    assert asked.status == 2
    assert "discard" in asked.err
    assert segment.read_bytes() == before

    # when: repair is confirmed
    done = Cli().run("journal", "repair", str(tmp_path), "--yes")
    assert (done.status, done.err) == (0, "")
    assert Cli().run("journal", "verify", str(tmp_path)).status == 0

    # then: the others are there
    async with opened(tmp_path) as again:
        await again.topic.join()
        assert await held(again.topic) == {"first", "third"}


async def test_a_torn_end_is_reported_and_is_no_damage(tmp_path: Path) -> None:
    segment = await three_events(tmp_path)
    segment.write_bytes(segment.read_bytes()[:-5])
    verified = Cli().run("journal", "verify", str(tmp_path))
    assert verified.status == 0
    assert f"torn by a crash: {segment}" in verified.out


async def test_a_segment_that_is_cut_short_or_missing_can_be_repaired(tmp_path: Path) -> None:
    first = await three_events(tmp_path)
    for event in ("fourth", "fifth"):
        async with opened(tmp_path) as one:
            await one.topic.dispatch(event)
    second = first.with_name("0000000002.log")
    data = first.read_bytes()
    first.write_bytes(data[: data.index(b"body of third")])
    second.unlink()

    verified = Cli().run("journal", "verify", str(tmp_path))
    assert verified.status == 1
    assert str(first) in verified.out
    assert str(second) in verified.out

    assert Cli().run("journal", "repair", str(tmp_path), "--yes").status == 0
    async with opened(tmp_path) as again:
        await again.topic.join()
        assert await held(again.topic) == {"first", "second", "fifth"}


async def test_a_directory_that_is_in_use_or_no_journal_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "used"):
        assert "is in use by process" in Cli().run("journal", "verify", str(tmp_path / "used")).err
    verified = Cli().run("journal", "verify", str(tmp_path))
    assert (verified.status, verified.err) == (
        1,
        f"duebus: {tmp_path} is not a data directory: it has no manifest.json\n",
    )
