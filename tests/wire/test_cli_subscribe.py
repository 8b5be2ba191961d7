"""`duebus subscribe`, with a real server: what is shown is acked, and nothing else is."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, Any

import pytest
from support.cli import SIGNAL_TIMEOUT_S, Cli

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess


def group_of(cli: Cli, topic: str) -> dict[str, Any]:
    (group,) = cli.ok("topic", topic, "--json").record["groups"]
    found: dict[str, Any] = group
    return found


def attempts(cli: Cli, topic: str) -> list[int]:
    """How many times each remaining event was delivered."""
    return [event["groups"][0]["attempts"] for event in cli.ok("events", topic, "--json").records]


def test_an_event_is_shown_when_it_is_due_with_its_lateness(cli: Cli, topic: str) -> None:
    with cli.start("subscribe", topic, "--group", "default", "--json", "--count", "1") as subscriber:
        subscriber.wait_for("subscribed to")
        began = time.monotonic()
        sent = cli.ok("dispatch", topic, '{"id": 42}', "--delay", "1s", "-a", "k=v", "--json").record

        shown = subscriber.record()
        took_s = time.monotonic() - began

        assert subscriber.result().status == 0
    assert (shown["event_id"], shown["data"], shown["attributes"]) == (sent["event_id"], {"id": 42}, {"k": "v"})
    assert (shown["topic"], shown["group"], shown["attempt"]) == (topic, "default", 1)
    assert 0 <= shown["late_seconds"] < took_s - 0.9, "counted from when it was due"
    assert group_of(cli, topic)["leased"] == 0


def test_without_a_group_it_takes_no_events(cli: Cli, topic: str) -> None:
    """The event keeps waiting for the first lasting group."""
    cli.ok("dispatch", topic, '"before"')
    with cli.start("subscribe", topic, "--json") as one, cli.start("subscribe", topic, "--json") as other:
        for each in (one, other):
            each.wait_for("subscribed to")
        cli.ok("dispatch", topic, '"after"')

        assert one.record()["data"] == other.record()["data"] == "after"

        waiting, *looking = cli.ok("topic", topic, "--json").record["groups"]
        assert (waiting["group"], waiting["ready"], waiting["ephemeral"]) == ("", 2, False)
        assert [each["ephemeral"] for each in looking] == [True, True]
        assert "(ephemeral)" in cli.ok("topic", topic).out
        assert one.end().status == other.end().status == 0
    assert until_one_group(cli, topic)["ready"] == 2, "the ephemeral group is gone"


def until_one_group(cli: Cli, topic: str) -> dict[str, Any]:
    """The remaining group, once the ephemeral ones are removed after the grace and a sweep."""
    give_up = time.monotonic() + SIGNAL_TIMEOUT_S
    while len(groups := cli.ok("topic", topic, "--json").record["groups"]) != 1:
        assert time.monotonic() < give_up, groups
    found: dict[str, Any] = groups[0]
    return found


def test_its_ephemeral_group_can_not_be_joined_by_a_worker(cli: Cli, topic: str) -> None:
    with cli.start("subscribe", topic, "--json") as one:
        one.wait_for("subscribed to")
        name = group_of(cli, topic)["group"]

        assert "is ephemeral" in cli.run("subscribe", topic, "--group", name).complaint

        assert one.end().status == 0


def test_a_line_has_the_payload_the_lateness_and_the_id(cli: Cli, topic: str) -> None:
    cli.ok("dispatch", topic, '{"id": 42}\x1b[2J', "--id", "o-42", "-a", "k=v")

    out = cli.ok("subscribe", topic, "--group", "default", "--count", "1").out

    (line,) = out.splitlines()
    for part in ('{"id": 42}\\x1b[2J', " late", "o-42", "k=v"):
        assert part in line


def test_ctrl_c_and_sigterm_end_it_with_status_0_and_everything_acked(cli: Cli, topic: str) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        with cli.start("subscribe", topic, "--group", "default", "--json") as subscriber:
            subscriber.wait_for("subscribed to")
            cli.ok("dispatch", topic, "1")
            subscriber.line()

            ended = subscriber.end(number)

        assert (ended.status, ended.out, ended.err) == (0, "", "")
        give_up = time.monotonic() + SIGNAL_TIMEOUT_S
        while (group := group_of(cli, topic))["subscribers"]:  # the server sees the end of a stream a little later
            assert time.monotonic() < give_up
        assert (group["ready"], group["leased"]) == (0, 0)


@pytest.mark.parametrize("count", [1, 7, 150])
def test_a_count_takes_exactly_that_many_events(cli: Cli, topic: str, count: int) -> None:
    cli.ok("dispatch", topic, "1", "--count", "200")

    shown = cli.ok("subscribe", topic, "--group", "default", "--json", "--count", str(count)).records

    assert len({each["event_id"] for each in shown}) == count
    left = attempts(cli, topic)
    assert len(left) == min(200 - count, 50)  # as many as are listed
    assert set(left) == {0}
    group = group_of(cli, topic)
    assert (group["ready"], group["leased"]) == (200 - count, 0)


def test_no_ack_leaves_everything_as_it_was(cli: Cli, topic: str) -> None:
    cli.ok("dispatch", topic, "1", "--count", "100")
    with cli.start("subscribe", topic, "--group", "default", "--no-ack", "--json") as subscriber:
        seen = {subscriber.record()["event_id"] for _ in range(100)}
        assert len(seen) == 100
        assert group_of(cli, topic)["leased"] == 100  # nobody else gets them meanwhile

        assert subscriber.end().status == 0

    group = group_of(cli, topic)
    assert (group["ready"], group["leased"]) == (100, 0)
    assert set(attempts(cli, topic)) == {0}


def test_events_that_a_closed_pipe_did_not_take_are_released(cli: Cli, topic: str) -> None:
    cli.ok("dispatch", topic, "1", "--count", "50")
    with cli.start("subscribe", topic, "--group", "default", "--json") as subscriber:
        subscriber.wait_for("subscribed to")
        for _ in range(50):
            subscriber.line()
        assert subscriber.process.stdout is not None
        subscriber.process.stdout.close()  # as `| head -50` does
        cli.ok("dispatch", topic, "2", "--count", "10")
        assert subscriber.process.wait(30) == 141
        assert subscriber.process.stderr is not None
        assert subscriber.process.stderr.read() == ""
        subscriber.process.stdout = None

    group = group_of(cli, topic)
    assert (group["ready"], group["leased"]) == (10, 0)
    assert set(attempts(cli, topic)) == {0}


def test_each_group_gets_an_event_and_members_of_one_share(cli: Cli, topic: str) -> None:
    one = ("subscribe", topic, "--json", "--group", "one", "--count", "1")
    two = ("subscribe", topic, "--json", "--group", "two", "--count", "2")
    with cli.start(*one) as first, cli.start(*one) as second, cli.start(*two) as other:
        for each in (first, second, other):
            each.wait_for("subscribed to")
        cli.ok("dispatch", topic, "1", "--count", "2")

        ids = {each.record()["event_id"] for each in (first, second)}

        assert ids == {other.record()["event_id"] for _ in range(2)}
        assert len(ids) == 2


def test_it_resumes_after_the_server_returns(start_server: Callable[..., ServerProcess], topic: str) -> None:
    server = start_server()
    cli = Cli(server.address)
    with cli.start("subscribe", topic, "--group", "default", "--json") as subscriber:
        subscriber.wait_for("subscribed to")
        server.kill()
        subscriber.wait_for("the connection is lost")

        start_server(listen=server.address)

        subscriber.wait_for("subscribed to")
        cli.ok("dispatch", topic, '"after"')
        assert subscriber.record()["data"] == "after"
        assert subscriber.end().status == 0


def test_a_subscriber_that_is_killed_loses_nothing(cli: Cli, topic: str) -> None:
    cli.ok("dispatch", topic, "1", "--count", "64")
    with cli.start("subscribe", topic, "--group", "default", "--no-ack", "--json") as victim:
        held = {victim.record()["event_id"] for _ in range(64)}
        with cli.start("subscribe", topic, "--group", "default", "--json", "--count", "64") as heir:
            heir.wait_for("subscribed to")
            assert victim.end(signal.SIGKILL).status == -signal.SIGKILL

            assert {heir.record()["event_id"] for _ in range(64)} == held


def test_invalid_names_are_one_line(cli: Cli, topic: str) -> None:
    assert "topic: must match" in cli.run("subscribe", "bad topic").complaint
    assert "group: must match" in cli.run("subscribe", topic, "--group", "bad group").complaint
    assert "redis" in cli.run("subscribe", topic, "--engine", "redis").complaint


def test_a_finished_subscription_reports_no_lost_connection(server: ServerProcess, topic: str) -> None:
    cli = Cli(server.address)
    cli.ok("dispatch", topic, "1")
    assert "lost" not in cli.ok("subscribe", topic, "--group", "default", "--count", "1").err
