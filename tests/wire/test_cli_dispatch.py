"""`duebus dispatch`, with a real server."""

from __future__ import annotations

import json
import re
import signal
import socket
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from support.cli import Cli

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess


def events(cli: Cli, topic: str) -> list[dict[str, Any]]:
    """The topic's events, with all their details."""
    result = cli.ok("events", topic, "--json", "--limit", "5000")
    found: list[dict[str, Any]] = result.records
    return found


def closed_port() -> int:
    """A port that nobody listens on."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.mark.parametrize(
    ("payload", "data", "content_type"),
    [
        ('{"id": 42}', {"id": 42}, "application/json"),
        ("42", 42, "application/json"),
        ("hällo", "hällo", "text/plain; charset=utf-8"),
        ("{broken", "{broken", "text/plain; charset=utf-8"),
        ("NaN", "NaN", "text/plain; charset=utf-8"),
        ("", "", "text/plain; charset=utf-8"),
    ],
)
def test_a_json_payload_is_sent_as_json_and_any_other_as_text(
    cli: Cli, topic: str, payload: str, data: object, content_type: str
) -> None:
    cli.ok("dispatch", topic, payload)

    (event,) = events(cli, topic)
    assert (event["data"], event["content_type"]) == (data, content_type)


def test_all_options_of_an_event_are_sent(cli: Cli, topic: str) -> None:
    sent = cli.ok(
        "dispatch", topic, "x", "--id", "o-42", "--delay", "1h", "-a", "tenant=a", "--attribute", "query=b=c",
        "--content-type", "text/csv", "--max-retries", "7", "--engine", "local", "--json",
    ).record  # fmt: skip
    assert sent == {"topic": topic, "event_id": "o-42", "duplicate": False}

    (event,) = events(cli, topic)
    assert event["event_id"] == "o-42"
    assert event["attributes"] == {"tenant": "a", "query": "b=c"}
    assert (event["content_type"], event["max_retries"]) == ("text/csv", 7)
    (group,) = event["groups"]
    assert group["state"] == "scheduled"


def test_a_duplicate_id_adds_nothing_and_is_not_a_failure(cli: Cli, topic: str) -> None:
    cli.ok("dispatch", topic, "1", "--id", "o-42")

    again = cli.ok("dispatch", topic, "1", "--id", "o-42", "--json")
    assert again.record["duplicate"] is True
    assert "nothing was added" in cli.ok("dispatch", topic, "1", "--id", "o-42").out
    assert len(events(cli, topic)) == 1


def test_a_count_dispatches_copies(cli: Cli, topic: str) -> None:
    assert cli.ok("dispatch", topic, "1", "--count", "1201", "--json").record["dispatched"] == 1201

    assert len({event["event_id"] for event in events(cli, topic)}) == 1201


def test_each_line_of_a_file_is_an_event(cli: Cli, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f'{{"id": {number}}}\n' for number in range(2500)))

    result = cli.ok("dispatch", topic, "--file", str(file), "--delay", "1h", "-a", "k=v")

    assert result.out.startswith(f"dispatched 2,500 events to {topic} in ")
    assert result.err == ""
    found = events(cli, topic)
    assert sorted(event["data"]["id"] for event in found) == list(range(2500))
    assert {json.dumps(event["attributes"]) for event in found} == {'{"k": "v"}'}


def test_a_bad_line_of_a_file_is_reported_before_anything_is_sent(cli: Cli, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("1\n" * 1203 + "{bad\n" + "2\n" * 1000)

    complaint = cli.run("dispatch", topic, "--file", str(file)).complaint

    assert complaint.startswith(f"{file}: line 1204: is not JSON: ")
    assert complaint.endswith("; nothing was dispatched")
    assert "no topic" in cli.run("events", topic).complaint


def test_a_bad_line_of_a_pipe_is_reported_and_the_load_can_be_repeated(cli: Cli, topic: str) -> None:
    broken = "1\n" * 1203 + "{bad\n" + "2\n" * 1000
    complaint = cli.run("dispatch", topic, "--file", "-", stdin=broken).complaint
    assert complaint.startswith("-: line 1204: is not JSON: ")
    pattern = r"; 1,203 events dispatched: lines 1 to 1203; run it again with (--id \S+) to add only"
    again = re.search(pattern, complaint)
    assert again is not None, complaint

    mended = cli.ok("dispatch", topic, "--file", "-", *again[1].split(), stdin=broken.replace("{bad", "{}"))

    assert mended.out.startswith("dispatched 2,204 events")
    assert mended.out.endswith("; the topic had 1,203 of them already\n")
    assert len(events(cli, topic)) == 2204


def test_dispatching_a_file_twice_stores_it_twice_unless_an_id_is_given(cli: Cli, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("1\n1\n")
    for _ in range(2):
        cli.ok("dispatch", topic, "--file", str(file))
        cli.ok("dispatch", topic, "--file", str(file), "--id", "import")
    found = {event["event_id"] for event in events(cli, topic)}
    assert len(found) == 6
    assert {"import-1", "import-2"} <= found


def test_a_line_that_the_server_refuses_is_reported(cli: Cli, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("1\n" * 502 + f'"{"x" * 1_100_000}"\n' + "2\n")

    complaint = cli.run("dispatch", topic, "--file", str(file)).complaint

    assert complaint.startswith(f"{file}: line 503: data: ")
    dispatched = re.search(r"; (\d+) events dispatched: lines 1 to \1; run it again with --id load-", complaint)
    assert dispatched is not None, complaint
    assert len(events(cli, topic)) == int(dispatched[1]) >= 500


def test_a_full_topic_ends_the_load_and_reports_what_was_stored(
    start_server: Callable[..., ServerProcess], topic: str, tmp_path: Path
) -> None:
    cli = Cli(start_server("--max-queued", "1000").address)
    file = tmp_path / "events.jsonl"
    file.write_text("1\n" * 5000)

    complaint = cli.run("dispatch", topic, "--file", str(file)).complaint

    assert "holds 1000 events of at most 1000; 1,000 events dispatched: lines " in complaint
    assert len(events(cli, topic)) == 1000


def test_lines_from_a_pipe_are_sent_as_they_arrive(cli: Cli, topic: str) -> None:
    with cli.start("subscribe", topic, "--json") as subscriber:
        subscriber.wait_for("subscribed to")
        with cli.start("dispatch", topic, "--file", "-", "--json") as dispatcher:
            assert dispatcher.process.stdin is not None
            dispatcher.process.stdin.write("1\n")
            dispatcher.process.stdin.flush()
            assert subscriber.record()["data"] == 1  # the pipe is still open
            dispatcher.process.stdin.write("2")
            assert dispatcher.result().record["dispatched"] == 2
        assert subscriber.record()["data"] == 2


def test_ctrl_c_ends_a_load_and_reports_what_was_stored(cli: Cli, topic: str) -> None:
    with cli.start("subscribe", topic, "--json") as subscriber, cli.start("dispatch", topic, "-f", "-") as dispatcher:
        subscriber.wait_for("subscribed to")
        assert dispatcher.process.stdin is not None
        dispatcher.process.stdin.write("1\n2\n")
        dispatcher.process.stdin.flush()
        assert [subscriber.record()["data"] for _ in range(2)] == [1, 2]

        ended = dispatcher.end(signal.SIGINT)

    assert ended.status == 130
    assert ended.complaint.startswith("-: interrupted; 2 events dispatched: lines 1 to 2; run it again with --id load-")


@pytest.mark.parametrize(
    ("topic", "arguments", "complaint"),
    [
        ("bad topic", [], "topic: must match"),
        ("", [], "topic"),
        ("t", ["--delay", "4000d"], "delay: "),
        ("t", ["--engine", "redis"], "redis"),
        ("nobody-subscribes", ["--require-subscriber"], "has no subscriber"),
    ],
)
def test_an_error_of_the_server_is_one_line(cli: Cli, topic: str, arguments: list[str], complaint: str) -> None:
    result = cli.run("dispatch", topic, "x", *arguments)
    assert result.status == 1
    assert complaint in result.complaint
    assert "events[0]" not in result.complaint


def test_a_missing_file_is_one_line(cli: Cli, topic: str, tmp_path: Path) -> None:
    assert cli.run("dispatch", topic, "-f", str(tmp_path / "no")).complaint.endswith("no such file or directory")
    assert cli.run("dispatch", topic, "-f", str(tmp_path)).complaint.endswith("is a directory")


def test_the_server_may_be_named_before_or_after_the_command_or_in_the_environment(
    server: ServerProcess, topic: str
) -> None:
    nobody = f"127.0.0.1:{closed_port()}"
    bare = Cli()
    assert bare.run("--server", server.address, "dispatch", topic, "1").status == 0
    assert bare.run("dispatch", topic, "1", "--server", server.address).status == 0
    assert bare.run("--server", nobody, "dispatch", topic, "1", "--server", server.address).status == 0
    assert bare.run("--server", server.address, "dispatch", topic, "1", DUEBUS_SERVER=nobody).status == 0
    assert bare.run("dispatch", topic, "1", DUEBUS_SERVER=nobody).status == 1


def test_an_unreachable_server_is_reported_at_once_with_how_to_start_one() -> None:
    address = f"127.0.0.1:{closed_port()}"
    for command in (["dispatch", "t", "1"], ["subscribe", "t"], ["topics"], ["stop"]):
        complaint = Cli(address).run(*command).complaint
        assert complaint.startswith(f"can't reach a server at {address} (connection refused)")
        assert "'duebus serve'" in complaint


def test_an_unresponsive_server_is_an_error_after_the_timeout() -> None:
    with closing(socket.create_server(("127.0.0.1", 0))) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        result = Cli(address).run("dispatch", "t", "1", "--timeout", "500ms")
    assert result.status == 1
    assert address in result.complaint
