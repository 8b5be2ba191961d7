"""The live table: what fits on the terminal, and what it shows when the server does not answer."""

import io
from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from duebus import GroupInfo, Rates, RetryPolicy, TopicConfig, TopicInfo
from duebus.cli.watch import View
from rich.console import Console

AT = datetime.fromisoformat("2026-11-23T12:00:00").astimezone()


def topic(name: str) -> TopicInfo:
    none = timedelta()
    policy = RetryPolicy(max_retries=3, backoff_initial=none, backoff_max=none)
    group = GroupInfo(
        group="default",
        paused=False,
        scheduled=1,
        ready=22,
        leased=3,
        dead=4,
        subscribers=(),
        oldest_ready_age=None,
        rates=Rates(dispatched=1, delivered=1, acked=10.25, nacked=0),
        retry_policy=policy,
    )
    config = TopicConfig(
        retry_policy=policy,
        lease=none,
        max_queued=0,
        dead_letter_retention=none,
        dedupe_window=none,
        partitions=1,
    )
    return TopicInfo(topic=name, engine=None, config=config, queued=26, groups=(group,))


def shown(view: View, *, width: int = 160, height: int = 24, whole: bool = False) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO())
    console.print(view.shown(console, whole=whole))
    out: str = console.file.getvalue()  # type: ignore[attr-defined]
    return [line.strip() for line in out.splitlines() if line.strip()]


def test_a_wide_terminal_shows_rates_and_a_narrow_one_leaves_them_out() -> None:
    view = View("server:1", [topic("orders")], AT)

    assert shown(view)[0] == "server:1  12:00:00  1 topic  Ctrl-C ends"
    assert "ACKED/S" in shown(view)[1]
    assert "10.2" in shown(view)[-1]
    narrow = shown(view, width=90)
    assert "ACKED/S" not in narrow[1]
    assert narrow[-1].split() == ["orders", "default", "1", "22", "3", "4", "0"]


@pytest.mark.parametrize("height", [7, 12, 24])
def test_rows_that_do_not_fit_the_height_are_counted(height: int) -> None:
    view = View("server:1", [topic(f"t{number:02}") for number in range(40)], AT)

    lines = shown(view, height=height)

    rows = [line for line in lines if line.startswith("t")]
    assert lines[-1] == f"and {40 - len(rows)} more, on a taller terminal"
    assert rows[0].startswith("t00")
    assert len(rows) == height - 6
    assert len([line for line in shown(view, height=height, whole=True) if line.startswith("t")]) == 40


def test_an_unresponsive_server_is_reported() -> None:
    view = View("server:1", [topic("orders")], AT, "connection refused")

    assert shown(view)[0] == "server:1  12:00:00  1 topic  no answer since then: connection refused"
    assert shown(view)[-1].startswith("orders")


def test_a_topic_that_cannot_be_shown_is_named_beside_the_others() -> None:
    damaged = replace(topic("broken"), groups=(), problem="a key has the wrong type")

    lines = shown(View("server:1", [topic("orders"), damaged], AT))

    assert lines[1] == "broken can't be shown: a key has the wrong type"
    assert [line.split()[0] for line in lines[2:]] == ["TOPIC", lines[3], "orders"]


def test_no_table_is_shown_without_topics() -> None:
    assert shown(View("server:1", [], AT)) == ["server:1  12:00:00  0 topics  Ctrl-C ends"]


def test_numbers_stay_whole_on_a_narrow_terminal_and_names_are_folded() -> None:
    view = View("server:1", [topic("a.rather.long.name.for.a.topic.of.orders")] * 9, AT)

    lines = shown(view, width=72, height=20)

    assert len(lines) <= 20
    assert lines[-1].endswith(" more, on a taller terminal")
    rows = [line.split() for line in lines if line.startswith("a.")]
    assert rows
    assert all(row[-5:] == ["1", "22", "3", "4", "0"] for row in rows)
