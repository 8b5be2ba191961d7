"""docs/idempotent-handlers.md and docs/moving/celery.md: their programs do what the pages say."""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from typing import TYPE_CHECKING

from duebus import Client
from support.documents import ROOT, blocks, section
from support.wire import SIGNAL_TIMEOUT_S
from wire.test_readme import python, start

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.server_process import ServerProcess

IDEMPOTENT = ROOT / "docs" / "idempotent-handlers.md"
CELERY = ROOT / "docs" / "moving" / "celery.md"


def test_a_service_that_knows_the_id_charges_once(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    (working,) = blocks(section(IDEMPOTENT, "Pass the event's id on"), "python")
    server = start_server()
    with Client(server.address, timeout=10) as client:
        client.dispatch("order.placed", {"cents": 990}, id="order-42")

    with start(working, server, tmp_path / "billing.py") as worker:
        assert worker.line() == "order-42: attempt 2, 1 charge"
        assert worker.end().status == 0


def test_a_payment_is_booked_once(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    (working,) = blocks(section(IDEMPOTENT, "Remember what was handled"), "python")
    server = start_server()
    with Client(server.address, timeout=10) as client, start(working, server, tmp_path / "accounts.py") as worker:
        client.admin.configure_topic("payment.received", dedupe_window=0)
        for _ in range(2):  # the server has forgotten the id when it comes again
            client.dispatch("payment.received", {"account": 7, "cents": 990}, id="payment-1")
            until_handled(client, "payment.received")
        client.dispatch_many("payment.received", [{"account": 7, "cents": 10}] * 50)  # which are handled at once
        until_handled(client, "payment.received")
        assert worker.end().status == 0
    with closing(sqlite3.connect(tmp_path / "accounts.db")) as database:
        assert database.execute("SELECT balance FROM accounts").fetchall() == [(990 + 50 * 10,)]
        assert database.execute("SELECT count(*) FROM duebus_inbox").fetchone() == (1 + 50,)


def until_handled(client: Client, topic: str) -> None:
    """Waits until the topic is empty. It polls: a server does not announce that."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while client.admin.get_topic(topic).queued:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_writer_with_a_smaller_token_is_too_late(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    (working,) = blocks(section(IDEMPOTENT, "Refuse late writers"), "python")
    server = start_server()
    with Client(server.address, timeout=10) as client, start(working, server, tmp_path / "stock.py") as worker:
        client.dispatch("stock.counted", {"count": 5}, key="ink")
        assert worker.line() == "ink: 5"
        client.dispatch("stock.counted", {"count": 4}, key="ink")
        assert worker.line() == "ink: 4"
        assert worker.end().status == 0

    with closing(sqlite3.connect(tmp_path / "stock.db", isolation_level=None)) as database:
        database.execute("UPDATE stock SET token = token + 86400000000")  # the handler of a later event has written
    with Client(server.address, timeout=10) as client, start(working, server, tmp_path / "late.py") as worker:
        client.dispatch("stock.counted", {"count": 3}, key="ink")
        assert worker.line() == "ink: too late"
        assert worker.end().status == 0


def test_a_task_of_celery_is_a_handler(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    calling, working = blocks(CELERY.read_text(), "python")
    server = start_server()
    assert python(calling.replace("seconds=60", "seconds=0"), server, tmp_path / "caller.py") == ""
    assert python(calling.replace("seconds=60", "seconds=0"), server, tmp_path / "again.py") == ""  # the id is known
    with start(working, server, tmp_path / "mail.py") as worker:
        assert worker.line() == "sent to 42, attempt 2"
        assert worker.end().status == 0
    with Client(server.address, timeout=10) as client:
        (topic,) = client.admin.list_topics()
        assert topic.queued == 0
