"""docs/ordering.md: its programs and commands print what it shows."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from duebus import Client
from support.cli import Cli
from support.documents import ROOT, blocks, transcripts
from wire.test_readme import general, python, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess

GUIDE = (ROOT / "docs" / "ordering.md").read_text()
TOPIC = "order.changed"


def test_the_events_of_an_order_are_handled_in_order(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    dispatching, working = blocks(GUIDE, "python")
    (printed,) = blocks(GUIDE, "")
    server = start_server()
    assert python(dispatching, server, tmp_path / "shop.py") == ""

    with start(working, server, tmp_path / "one.py") as one:
        lines = [one.line() for _ in printed.splitlines()]
        assert one.end().status == 0

    assert lines == printed.splitlines()


def test_the_keys_that_hold_up_others_are_listed(start_server: Callable[..., ServerProcess]) -> None:
    server = start_server()
    (shown,) = transcripts(GUIDE)
    with Client(server.address, timeout=10) as client, client.subscribe(TOPIC, group="billing") as billing:
        for order, steps in (("order-18", ("placed", "paid", "shipped")), ("order-19", ("placed",))):
            for step in steps:
                client.dispatch(TOPIC, step, id=f"{order}-{step}", key=order)
        assert [next(billing).key for _ in range(2)] == ["order-18", "order-19"]

        program, *arguments = shlex.split(shown.command)
        assert program == ".venv/bin/duebus"
        assert general(Cli(server.address).ok(*arguments).out) == general("\n".join(shown.printed))
