"""`duebus schedule`, with a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from support.builders import unique_name

if TYPE_CHECKING:
    from duebus import Client
    from support.cli import Cli


@pytest.fixture
def name() -> str:
    return unique_name("schedule")


def test_a_schedule_is_put_and_shown_in_words(cli: Cli, client: Client, topic: str, name: str) -> None:
    rule = ("--cron", "0 9 * * MON-FRI", "--zone", "Europe/Berlin", "--overlap", "skip", "--priority", "60")
    out = cli.ok("schedule", "put", name, topic, '{"a":1}', *rule).out

    assert out.startswith(f"{name} dispatches to {topic} at 09:00, Monday to Friday (Europe/Berlin); next: 20")
    schedule = client.schedules.get(name).schedule
    assert (schedule.json(), schedule.overlap, schedule.priority) == ({"a": 1}, "skip", 60)
    shown = cli.ok("schedule", "get", name).out.splitlines()
    assert "rule        0 9 * * MON-FRI: at 09:00, Monday to Friday (Europe/Berlin)" in shown
    assert sum(line.startswith("next ") for line in shown) == 10
    record = cli.ok("schedule", "get", name, "--json").record
    assert record["schedule"]["data"] == {"a": 1}
    assert len(record["next"]) == 10
    (row,) = [line for line in cli.ok("schedule", "list").out.splitlines() if line.startswith(name)]
    assert topic in row
    assert name in {each["schedule"]["name"] for each in cli.ok("schedule", "list", "--json").records}


def test_pause_resume_trigger_backfill_delete(cli: Cli, client: Client, topic: str, name: str) -> None:
    cli.ok("schedule", "put", name, topic, "--every", "1h", "--paused")
    assert client.schedules.get(name).schedule.paused
    assert cli.ok("schedule", "resume", name).out.startswith(f"resumed {name}: every hour; next: 20")
    assert "ends it" in cli.ok("schedule", "pause", name).out
    assert cli.ok("schedule", "put", name, topic, "--every", "1h").out.endswith("every hour; paused\n")
    assert cli.ok("schedule", "trigger", name, "--request-id", "r").out == f"dispatched {name}@trigger@r\n"
    span = ("--from", "2026-01-01T00:00Z", "--until", "2026-01-01T03:00Z")
    assert cli.ok("schedule", "backfill", name, *span).out == f"dispatched 3 events of {name}\n"

    refused = cli.run("schedule", "delete", name)
    assert (refused.status, refused.complaint) == (
        2,
        f"would delete the schedule {name} of {topic}; there is no terminal to ask on, so pass --yes; nothing was done",
    )
    assert cli.ok("schedule", "delete", name, "--yes").out == f"deleted {name}\n"
    assert cli.run("schedule", "get", name).complaint == f"no schedule '{name}'"


def test_a_preview_stores_nothing(cli: Cli, client: Client) -> None:
    before = {info.schedule.name for info in client.schedules.list()}
    rule = ("--cron", "30 2 * * *", "--zone", "Europe/Berlin", "--after", "2026-03-28T12:00Z", "-n", "2", "--json")

    record = cli.ok("schedule", "preview", *rule).record

    assert record == {
        "description": "at 02:30 every day (Europe/Berlin)",
        "times": ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"],
    }
    assert {info.schedule.name for info in client.schedules.list()} == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--cron", "0 25 * * *"), "cron: the hour (field 2) can't be read, or never comes: '25'"),
        (("--cron", "0 9 * * *", "--zone", "Europe/Atlantis"), "time_zone: there is no time zone 'Europe/Atlantis'"),
        ((), "cron: cron or every is required, and not both"),
        (("--every", "1h", "--overlap", "maybe"), "'maybe' is not one of allow, skip, buffer_one"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(cli: Cli, topic: str, arguments: tuple[str, ...], complaint: str) -> None:
    refused = cli.run("schedule", "put", "wrong", topic, *arguments)

    assert refused.status != 0
    assert complaint in refused.complaint
    assert json.dumps(refused.out) == '""'
