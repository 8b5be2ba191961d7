"""`duebus worker`, with a real server."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest
from support.cli import Cli

if TYPE_CHECKING:
    from pathlib import Path

    from support.server_process import ServerProcess

SOURCE = """
from duebus import Worker

worker = Worker("127.0.0.1:1", group="billing")

@worker.on({topic!r})
def handle(delivery):
    # In one piece: handlers print from several threads.
    print(f"handled {{delivery.json()}}\\n", end="", flush=True)

@worker.on({topic!r} + ".broken", max_retries=0)
async def fail(delivery):
    raise ValueError("card refused")
"""


@pytest.fixture
def cli(server: ServerProcess, topic: str, tmp_path: Path) -> Cli:
    (tmp_path / "shop.py").write_text(SOURCE.format(topic=topic))
    return Cli(server.address, tmp_path)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_worker_in_the_current_directory_runs_until_a_signal_drains_it(cli: Cli, topic: str, number: int) -> None:
    with cli.start("worker", "shop:worker") as worker:
        worker.wait_for("shop:worker is ready")
        cli.ok("dispatch", topic, '{"id": 42}')
        assert worker.line() == "handled {'id': 42}"

        assert worker.end(number).status == 0

    (group,) = cli.ok("topic", topic, "--json").record["groups"]
    assert (group["group"], group["ready"], group["leased"]) == ("billing", 0, 0)


def test_a_failed_handler_is_logged_and_its_event_is_dead_with_the_error(cli: Cli, topic: str) -> None:
    with cli.start("worker", "shop:worker") as worker:
        worker.wait_for("shop:worker is ready")
        cli.ok("dispatch", f"{topic}.broken", "1", "--id", "o-42")
        worker.wait_for("card refused")
        worker.end()

    (group,) = cli.ok("event", f"{topic}.broken", "o-42", "--json").record["groups"]
    message, *calls = group["last_error"].splitlines()
    assert (group["state"], message) == ("dead", "ValueError: card refused")
    assert calls[-1] == '    raise ValueError("card refused")'


def test_readiness_is_a_json_line_on_standard_output(cli: Cli) -> None:
    with cli.start("worker", "shop:worker", "--json") as worker:
        assert worker.record() == {"ready": "shop:worker"}


def test_100000_lines_are_handled_once_each(cli: Cli, topic: str, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text("".join(f"{number}\n" for number in range(100_000)))
    with cli.start("worker", "shop:worker") as worker:
        worker.wait_for("shop:worker is ready")
        cli.ok("dispatch", topic, "--file", str(file))

        handled = [int(worker.line().removeprefix("handled ")) for _ in range(100_000)]

        assert worker.end().out == ""
    assert sorted(handled) == list(range(100_000))


def test_an_unknown_worker_is_one_line(cli: Cli) -> None:
    assert "No module named 'nowhere'" in cli.run("worker", "nowhere:worker").complaint
