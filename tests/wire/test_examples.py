"""The examples, run as a newcomer would: a program, a server, and the output."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from duebus import Client

if TYPE_CHECKING:
    from duebus import GroupInfo
    from support.server_process import ServerProcess

EXAMPLES = Path(__file__).parents[2] / "clients" / "python" / "examples"
END_TIMEOUT_S = 120


def test_every_example_is_run_here() -> None:
    tested = {name.removeprefix("test_the_example_") for name in globals() if name.startswith("test_the_example_")}
    assert tested == {path.stem for path in EXAMPLES.glob("*.py")}


def test_the_example_audit_log(server: ServerProcess) -> None:
    lines = run("audit_log", server)

    answered, written = lines[:3], lines[3:]
    assert [without_milliseconds(line) for line in answered] == [
        "ada: signed in, answered after N ms",
        "ada: changed her address, answered after N ms",
        "bob: signed in, answered after N ms",
    ]
    assert sorted(written) == [
        "audit log: ada: changed her address",
        "audit log: ada: signed in",
        "audit log: bob: signed in",
    ]
    assert counts(server, "audit.entry", "audit-log") == "0 waiting, 0 leased, 0 dead"


def test_the_example_payment_check(server: ServerProcess) -> None:
    lines = run("payment_check", server, "0.5")

    assert [without_milliseconds(line) for line in sorted(lines)] == [
        "order-1: paid, checked N ms after it was due",
        "order-1: placed, to be checked in 0:00:00.500000",
        "order-2: cancelled, checked N ms after it was due",
        "order-2: placed, to be checked in 0:00:00.500000",
    ]
    assert counts(server, "order.payment-due", "orders") == "0 waiting, 0 leased, 0 dead"


def test_the_example_domain_events(server: ServerProcess) -> None:
    lines = run("domain_events", server)

    assert sorted(lines) == [
        "billing: order 7, an invoice of 129.00 to ada",
        "billing: order 8, an invoice of 8.50 to bob",
        "shipping: order 7, a parcel to ada",
        "shipping: order 8, a parcel to bob",
        "shop: order 7 is placed",
        "shop: order 8 is placed",
    ]
    assert counts(server, "order.placed", "billing") == "0 waiting, 0 leased, 0 dead"
    assert counts(server, "order.placed", "shipping") == "0 waiting, 0 leased, 0 dead"


def test_the_example_webhook(server: ServerProcess) -> None:
    lines = run("webhook", server)

    assert sorted(lines) == [
        "/busy: attempt 1, answer 503",
        "/busy: attempt 2, answer 200",
        "/down: attempt 1, answer 503",
        "/down: attempt 2, answer 503",
        "/gone: attempt 1, answer 410",
        "dead: /down, the receiver answered 503",
        "dead: /gone, the receiver is gone",
    ]
    assert counts(server, "order.shipped", "webhooks") == "0 waiting, 0 leased, 2 dead"


def run(example: str, server: ServerProcess, *arguments: str) -> list[str]:
    """Its output lines. It must end with status 0."""
    ended = subprocess.run(
        [sys.executable, EXAMPLES / f"{example}.py", *arguments],
        env={**os.environ, "DUEBUS_SERVER": server.address},
        capture_output=True,
        text=True,
        timeout=END_TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended.stdout.splitlines()


def without_milliseconds(line: str) -> str:
    return re.sub(r"\d+ ms", "N ms", line)


def counts(server: ServerProcess, topic: str, group: str) -> str:
    """What an example left in its group."""
    with Client(server.address) as client:
        found: GroupInfo = next(one for one in client.admin.get_topic(topic).groups if one.group == group)
    return f"{found.scheduled + found.ready} waiting, {found.leased} leased, {found.dead} dead"
