"""docs/operating.md: its commands, run in order on a bus in that state, print what it shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING

from duebus import Client
from support.cli import Cli, environment
from support.documents import ROOT, blocks, section, transcripts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from duebus.client import Subscription
    from support.server_process import ServerProcess

GUIDE = ROOT / "docs" / "operating.md"
UNAVAILABLE = "the card service answers 503"


def test_the_guide_shows_what_happens(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    cli = Cli(server.address)
    shown = transcripts(GUIDE.read_text())
    assert len(shown) > 10
    with Client(server.address, timeout=10) as client:
        make_initial_state(client)
        with client.subscribe("order.created", group="mail", consumer="mail-7f9c"):
            for each in shown:
                program, *arguments = shlex.split(each.command)
                assert program == ".venv/bin/duebus"
                printed = cli.ok(*arguments, COLUMNS="120").out
                assert general(printed) == general("\n".join(each.printed)), each.command


def test_the_program_of_the_guide_works(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    server = start_server()
    text = section(GUIDE, "From a program")
    (program,), (printed,) = blocks(text, "python"), blocks(text, "")
    with Client(server.address, timeout=10) as client:
        make_initial_state(client)
        file = tmp_path / "operate.py"
        file.write_text(program.replace("127.0.0.1:50051", server.address))
        command = [sys.executable, str(file)]
        with client.subscribe("order.created", group="mail"):
            ran = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=180, check=False)
    assert (ran.stdout, ran.stderr) == (printed, "")


def make_initial_state(client: Client, backoff: float = 0.001) -> None:
    """Make the guide's initial state: some orders could not be billed, one waits, and no worker is running."""
    client.admin.configure_topic("order.created", max_retries=2, backoff_initial=backoff, backoff_max=60)
    with (
        client.subscribe("order.created", group="billing", consumer="billing-2c51") as billing,
        client.subscribe("order.created", group="mail", consumer="mail-7f9c") as mail,
    ):
        for number in range(41, 47):
            client.dispatch("order.created", {"id": number}, id=f"order-{number}")
            client.ack(next(mail))
            bill(client, billing, number)
    client.dispatch("order.created", {"id": 47}, id="order-47")
    with client.subscribe("order.created", group="mail") as mail:
        client.ack(next(mail))
    with client.subscribe("order.check"):
        pass
    for number in (41, 42):
        client.dispatch("order.check", {"id": number}, id=f"check-{number}", delay=1800)


def bill(client: Client, billing: Subscription, number: int) -> None:
    if number == 45:
        client.nack(next(billing), dead_letter=True, error="there is no such card")
    elif number in (44, 46):
        for _ in range(3):
            client.nack(next(billing), error=UNAVAILABLE)
    else:
        client.ack(next(billing))


def general(printed: str) -> str:
    """The output, without the parts that differ each time."""
    printed = re.sub(r"\b[0-9a-f]{32}\b", "SESSION", printed)
    printed = re.sub(r"(\d{4}-\d\d-\d\d )?\d\d:\d\d:\d\d\.\d{3}([+-]\d\d:\d\d)?", "TIME", printed)
    printed = re.sub(r"FROM \(.*?\)", "FROM", printed)
    printed = re.sub(r"127\.0\.0\.1:\d+", "HOST:PORT", printed)
    printed = re.sub(r"\b\d+(\.\d+)?(ms|s|m|h)( \d+[smh])?\b|\b\d+\.\d\b", "N", printed)
    return "\n".join(" ".join(line.split()) for line in printed.strip().splitlines())
