"""docs/ordering.md: its programs and commands print what it shows."""

from __future__ import annotations

import shlex
import time
from typing import TYPE_CHECKING

from duebus import Client, KeyPolicy, OnDead
from support.cli import Cli
from support.documents import ROOT, blocks, section, transcripts
from wire.test_readme import general, python, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess

FILE = ROOT / "docs" / "ordering.md"
GUIDE = FILE.read_text()
TOPIC = "order.changed"


def test_the_events_of_an_order_are_handled_in_order(
    start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    case = section(FILE, "An order's events")
    (dispatching, working), (printed,) = blocks(case, "python"), blocks(case, "")
    server = start_server()
    assert python(dispatching, server, tmp_path / "shop.py") == ""
    assert lines_of(working, server, tmp_path / "one.py", printed.count("\n")) == printed.splitlines()


def test_a_customer_has_its_share(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    case = section(FILE, "A customer's fair share")
    (dispatching, working), (printed,) = blocks(case, "python"), blocks(case, "")
    server = start_server()
    assert python(dispatching, server, tmp_path / "wanted.py") == ""
    assert lines_of(working, server, tmp_path / "reports.py", printed.count("\n")) == printed.splitlines()


def test_a_third_party_is_asked_ten_times_a_second(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    dispatching, working = blocks(section(FILE, "A third party that allows ten a second"), "python")
    server = start_server()
    assert python(dispatching, server, tmp_path / "wanted.py") == ""

    with start(working, server, tmp_path / "sms.py") as worker:
        first = worker.line()
        began = time.monotonic()
        others = [worker.line() for _ in range(11)]
        took = time.monotonic() - began
        assert worker.end().status == 0

    assert [first, *others] == [f"sent to {number}, attempt 1" for number in range(12)]
    # Eleven intervals of 100 ms, and the half second of the refusal, which began after five of them.
    assert took > 1.2


def test_the_more_urgent_is_delivered_first(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    (dispatching,) = blocks(section(FILE, "Priority"), "python")
    server = start_server()
    assert python(dispatching, server, tmp_path / "mail.py") == ""
    with Client(server.address, timeout=10) as client, client.subscribe("mail.wanted", group="mail") as mail:
        assert [next(mail).text() for _ in range(3)] == ["one-time password", "receipt", "newsletter"]


def test_a_dead_letter_holds_its_key_if_the_policy_says_so(start_server: Callable[..., ServerProcess]) -> None:
    assert "KeyPolicy(on_dead=OnDead.HOLD)" in GUIDE
    server = start_server()
    with Client(server.address, timeout=10) as client, client.subscribe("held", group="billing") as billing:
        client.admin.configure_topic("held", keys=KeyPolicy(on_dead=OnDead.HOLD))
        client.dispatch_many("held", [{"step": 1}, {"step": 2}])
        for step in ("placed", "paid"):
            client.dispatch("held", step, id=step, key="order-18")
        unkeyed, _, placed = (next(billing) for _ in range(3))
        assert unkeyed.key == ""
        client.nack(placed, error="no such card", dead_letter=True)
        (held,) = client.admin.list_keys("held", group="billing")
        assert (held.held, held.head_event_id, held.blocked) == (True, "placed", 1)
        client.admin.redrive("held", group="billing", event_ids=["placed"])
        again = next(billing)
        assert again.event_id == "placed"
        client.ack(again)
        assert next(billing).event_id == "paid"


def lines_of(program: str, server: ServerProcess, file: Path, count: int) -> list[str]:
    """The first lines that a worker prints."""
    with start(program, server, file) as worker:
        lines = [worker.line() for _ in range(count)]
        assert worker.end().status == 0
    return lines


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
