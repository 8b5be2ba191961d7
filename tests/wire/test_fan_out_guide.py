"""docs/fan-out.md: its commands print what it shows, while two groups receive the events as it describes."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from duebus import Client
from support.cli import Cli
from support.documents import ROOT, blocks, section, transcripts
from wire.test_operating_guide import general
from wire.test_readme import start

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from duebus.client import Subscription
    from support.server_process import ServerProcess

GUIDE = ROOT / "docs" / "fan-out.md"
TOPIC = "order.created"


def test_the_guide_shows_what_happens(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    with (
        Client(server.address, timeout=10) as client,
        client.subscribe(TOPIC, group="mailer", consumer="mailer-1") as mailer,
        client.subscribe(TOPIC, group="ledger", consumer="ledger-1") as ledger,
    ):
        guide = reading(Cli(server.address))
        next(guide)  # the mailer's policy
        next(guide)  # the ledger's policy
        next(guide)  # the pause
        for number in range(1, 13):
            client.dispatch(TOPIC, {"id": number}, id=f"order-{number}")
            client.ack(next(mailer))
        next(guide)  # the ledger's backlog
        next(guide)  # the end of the pause
        assert handled(client, ledger, 12) == [f"order-{number}" for number in range(1, 13)]
        next(guide)  # nothing waits any longer
        client.dispatch(TOPIC, {"id": 13}, id="order-13")
        for _ in range(2):
            client.nack(next(mailer), error="no such address")
        client.nack(next(ledger), error="no such account", delay=1_800)
        next(guide)  # dead in one group, to be retried in the other
        next(guide)  # it is redriven in one of them
        assert handled(client, mailer, 1) == ["order-13"]
        assert list(guide) == []


def test_every_instance_of_the_program_gets_the_event(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    (program,) = blocks(section(GUIDE, "Every instance must hear it"), "python")
    server = start_server()
    with start(program, server, tmp_path / "one.py") as one, start(program, server, tmp_path / "other.py") as other:
        with Client(server.address, timeout=10) as client:
            until_subscribed(client, "price.changed", 2)
            client.dispatch("price.changed", {"item": "hat"})
        assert one.line() == other.line() == "hat is no longer cached"
        assert one.end().status == other.end().status == 0


def until_subscribed(client: Client, topic: str, count: int) -> None:
    """Wait until that many ephemeral groups have a subscriber."""
    give_up = time.monotonic() + 30
    while time.monotonic() < give_up:
        topics = [each for each in client.admin.list_topics() if each.topic == topic]
        if sum(bool(group.subscribers) and group.ephemeral for each in topics for group in each.groups) == count:
            return
    raise AssertionError(f"{count} subscribers of {topic} have not come")


def handled(client: Client, subscription: Subscription, count: int) -> list[str]:
    """Receives and acks events. Returns their ids in order."""
    ids: list[str] = []
    for _ in range(count):
        delivery = next(subscription)
        ids.append(delivery.event_id)
        client.ack(delivery)
    return ids


def reading(cli: Cli) -> Iterator[str]:
    """Runs the commands of the guide, one at each step, and compares what they print."""
    for each in transcripts(GUIDE.read_text()):
        program, *arguments = shlex.split(each.command)
        assert program == ".venv/bin/duebus"
        printed = cli.ok(*arguments, COLUMNS="120").out
        assert general(printed) == general("\n".join(each.printed)), f"{each.command}\n{printed}"
        yield each.command
