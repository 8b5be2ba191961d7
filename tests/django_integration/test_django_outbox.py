"""Events of Django's transactions: what was committed is dispatched once. With real databases and kills."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import Error, connections, transaction
from duebus.errors import InvalidArgument
from duebus.integrations.django import dispatch, relay
from duebus.integrations.django.models import OutboxRow
from duebus.integrations.outbox import first_free
from duebus.v1 import event_bus_pb2
from outbox.program import STEPS
from support.cli import Cli
from support.django_project import use_database
from support.forking import status_of
from support.mariadb_server import MariadbServer
from support.outboxes import TOPIC, check_large_events, check_text, received
from support.postgres_server import PostgresServer
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from duebus import Client
    from duebus.integrations.outbox import Relay
    from support.server_process import ServerProcess


def place(*numbers: int, key: str = "", roll_back: bool = False) -> None:
    """Commit events, or roll them back."""
    with transaction.atomic():
        for number in numbers:
            dispatch(TOPIC, number, key=key, id=f"order-{number}")
        transaction.set_rollback(roll_back)


def test_what_is_committed_is_dispatched_and_what_is_rolled_back_is_not(database: str, bus: Client) -> None:
    place(1)
    place(2, roll_back=True)
    dispatch(TOPIC, 3)  # in no transaction
    with relay(bus, poll=0.05).running():
        assert sorted(received(bus, 2)) == [1, 3]
    assert not OutboxRow.objects.exists()
    assert bus.admin.get_topic(TOPIC).queued == 0


def test_what_a_savepoint_rolls_back_is_not_dispatched(database: str, bus: Client) -> None:
    with transaction.atomic():
        dispatch(TOPIC, 1, id="kept")
        with transaction.atomic():
            dispatch(TOPIC, 2)
            transaction.set_rollback(True)
    assert relay(bus).send() == 1
    assert [event.event_id for event in bus.admin.list_events(TOPIC, "ready")] == ["kept"]


def test_an_event_has_all_that_it_was_given(database: str, bus: Client) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    known = dispatch(
        TOPIC,
        b"<order/>",
        at=due,
        attributes={"tenant": "acme"},
        content_type="application/xml",
        max_retries=7,
        key="order-1",
        priority=-60,
    )
    assert relay(bus).send() == 1
    event = bus.admin.get_event(TOPIC, known)
    assert (event.data, event.content_type, event.attributes["tenant"]) == (b"<order/>", "application/xml", "acme")
    assert (event.max_retries, event.key, event.priority) == (7, "order-1", -60)
    assert event.groups[0].deliver_at == due


def test_a_bad_argument_is_refused_in_the_transaction(database: str) -> None:
    with pytest.raises(InvalidArgument):
        dispatch("two words", 1)
    assert not OutboxRow.objects.exists()


@pytest.mark.parametrize("step", STEPS)
def test_a_relay_that_is_killed_loses_nothing_and_adds_nothing(
    bus: Client, server: ServerProcess, database: str, step: str
) -> None:
    place(1, 2, 3)
    place(4, roll_back=True)
    assert status_of("django_integration.killed_relay", database, server.address, step) == -signal.SIGKILL

    place(5)
    again = relay(bus)
    while again.send():
        pass

    assert not OutboxRow.objects.exists()
    assert sorted(received(bus, 4)) == [1, 2, 3, 5]
    assert bus.admin.get_topic(TOPIC).queued == 0


def test_several_relays_keep_the_order_of_each_key(database: str, bus: Client) -> None:
    relays, keys = 1 if database.startswith("sqlite") else 3, [f"customer-{number}" for number in range(7)]
    with ExitStack() as stack:
        for _ in range(relays):
            stack.enter_context(relay(bus, poll=0.05).running())
        for number in range(0, 350, 7):
            for offset, key in enumerate(keys):
                place(number + offset, key=key)
        got = received(bus, 350)
    assert sorted(got) == list(range(350))
    for offset in range(7):
        assert [number for number in got if number % 7 == offset] == list(range(offset, 350, 7))


def test_a_transaction_may_have_many_large_events(database: str, bus: Client) -> None:
    def write(large: Sequence[bytes]) -> None:
        with transaction.atomic():
            for data in large:
                dispatch(TOPIC, data, key="large")

    check_large_events(write, relay(bus), bus)


def test_text_is_kept_whatever_the_character_set_of_the_database_is(database: str, bus: Client) -> None:
    check_text(dispatch, relay(bus), OutboxRow.objects.get)


def test_rows_that_another_relay_has_sent_meanwhile_are_not_claimed(
    shared_database: str, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever isolation level the project has set."""
    one, two = relay(bus), relay(bus)
    one.send()  # makes the slots
    place(1)
    connections["default"].close()
    level = "repeatable read" if connections["default"].vendor == "mysql" else 2  # psycopg.IsolationLevel
    monkeypatch.setitem(connections["default"].settings_dict["OPTIONS"], "isolation_level", level)

    def send_and_lock(*arguments: Any) -> Any:
        monkeypatch.setattr("duebus.integrations.django.outbox.first_free", first_free)
        with ThreadPoolExecutor(1) as elsewhere:
            assert elsewhere.submit(sent_by, two).result(30) == 1
        return first_free(*arguments)

    monkeypatch.setattr("duebus.integrations.django.outbox.first_free", send_and_lock)
    with one._store.claim("", 10, 1 << 20, [], []) as claimed:
        assert claimed.rows == []


def test_a_relay_that_is_frozen_does_not_keep_its_slots(
    shared_database: str, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = relay(bus), relay(bus)
    one.send()  # makes the slots
    place(1)
    monkeypatch.setattr("duebus.integrations.outbox.MAX_IDLE_S", 1)
    with ThreadPoolExecutor(1) as elsewhere, suppress(Error), one._store.claim("", 10, 1 << 20, [], []):
        deadline = time.monotonic() + SIGNAL_TIMEOUT_S
        while not elsewhere.submit(sent_by, two).result(30):  # the database does not tell when it ends a transaction
            assert time.monotonic() < deadline
    connections.close_all()
    assert received(bus, 1) == [1]


def test_slots_that_another_relay_has_claimed_are_left_alone(shared_database: str, bus: Client) -> None:
    one, two = relay(bus), relay(bus)
    one.send()  # makes the slots
    place(1, key="a")
    with ThreadPoolExecutor(1) as elsewhere, one._store.claim("", 10, 1 << 20, [], []) as claimed:
        assert len(claimed.rows) == 1
        assert elsewhere.submit(sent_by, two).result(30) == 0
    assert two.send() == 1
    assert received(bus, 1) == [1]


def test_what_others_have_not_committed_does_not_hold_up_a_relay(shared_database: str, bus: Client) -> None:
    one, two = relay(bus), relay(bus)
    one.send()  # makes the slots
    place(*range(10), key="a")
    place(*range(10, 20), key="b")
    of_b = OutboxRow.objects.get(event_id="order-10").slot
    with ThreadPoolExecutor(1) as elsewhere:
        with one._store.claim("", 100, 1 << 20, [], [(TOPIC, of_b)]) as claimed:
            claimed.remove([row.id for row in claimed.rows])
            assert elsewhere.submit(sent_by, two).result(30) == 10
        place(*range(20, 30), key="b")
        with transaction.atomic():
            place(30)
            assert elsewhere.submit(sent_by, two).result(30) == 10
    assert two.send() == 1


@pytest.mark.parametrize("key", ["", "a"])
def test_a_claim_reads_no_more_rows_than_it_needs(shared_database: str, bus: Client, key: str) -> None:
    place(*range(2_000), key=key)
    store = relay(bus)._store
    store.prepare()
    if connections["default"].vendor == "postgresql":
        with connections["default"].cursor() as cursor:
            cursor.execute("ANALYZE")  # the rows would be too few for an index, as far as it knew
    before = rows_read()
    with store.claim("", 10, 1 << 20, [], []) as claimed:
        assert claimed.rows
        assert rows_read() - before < 500


def rows_read() -> int:
    """How many rows this connection has read on MariaDB, or this transaction on PostgreSQL."""
    with connections["default"].cursor() as cursor:
        if connections["default"].vendor == "mysql":
            cursor.execute("SHOW SESSION STATUS LIKE 'Rows_read'")
        else:
            cursor.execute("SELECT 'read', sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables")
        return int(cursor.fetchone()[1])


def sent_by(other: Relay) -> int:
    """Send one batch on a connection of its own, that of this thread."""
    try:
        return other.send()
    finally:
        connections.close_all()


def test_postgres_announces_a_commit(postgres_database: str, bus: Client) -> None:
    with bus.subscribe(TOPIC, group="billing") as billing, relay(bus, poll=600).running():  # ends long before the poll
        for number in range(20):
            place(number)
            delivery = next(iter(billing))
            assert delivery.json() == number
            bus.ack(delivery)


@pytest.mark.parametrize("kind", [PostgresServer, MariadbServer])
def test_a_database_that_was_away_is_read_again(bus: Client, kind: type[PostgresServer | MariadbServer]) -> None:
    database = kind()
    try:
        use_database(database.new_database())
        with relay(bus, poll=0.05).running():
            place(1)
            assert received(bus, 1) == [1]
            database.kill()
            database.restart()
            connections.close_all()  # the application's connection
            place(2)
            assert received(bus, 1) == [2]
    finally:
        connections.close_all()
        database.close()


def test_a_connection_that_was_lost_is_replaced(shared_database: str, bus: Client) -> None:
    sender = relay(bus)
    is_mysql = connections["default"].vendor == "mysql"
    end = "KILL CONNECTION_ID()" if is_mysql else "SELECT pg_terminate_backend(pg_backend_pid())"
    for use in (sender._store.prepare, sender.send):
        with suppress(Error), connections["default"].cursor() as cursor:
            cursor.execute(end)
        use()


def test_a_row_that_the_server_refuses_keeps_the_reason(database: str, bus: Client) -> None:
    place(1, 2, 3)
    mend = event_bus_pb2.Event(id="order-2", key="k" * 256).SerializeToString()
    OutboxRow.objects.filter(event_id="order-2").update(event=mend)
    sender = relay(bus)
    sender.send()
    assert sorted(received(bus, 2)) == [1, 3]
    assert "key" in OutboxRow.objects.get().error
    assert sender.send() == 0


def test_the_relay_of_sqlalchemy_sends_the_same_rows(database: str, server: ServerProcess, bus: Client) -> None:
    place(1)
    with Cli(server.address).start("outbox", "relay", "--database", database) as command:
        command.wait_for("Ctrl-C ends")
        assert received(bus, 1) == [1]
        assert command.end(signal.SIGTERM).status == 0
    assert not OutboxRow.objects.exists()


def test_the_migrations_make_the_tables_of_the_models(sqlite_database: str) -> None:
    call_command("makemigrations", "duebus", check=True, dry_run=True, verbosity=0)


def test_the_command_knows_the_databases() -> None:
    with pytest.raises(CommandError, match="invalid choice: 'missing'"):
        call_command("duebus_relay", "--database", "missing")


def test_a_second_database_has_an_outbox_and_a_relay_of_its_own(
    sqlite_database: str, tmp_path: Path, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = {"ENGINE": "django.db.backends.sqlite3", "NAME": tmp_path / "second.db"}
    configured = connections.configure_settings({"default": second})["default"]
    monkeypatch.setitem(connections.settings, "second", configured)
    call_command("migrate", database="second", verbosity=0)
    try:
        with transaction.atomic(using="second"):
            dispatch(TOPIC, 1, id="rolled-back", using="second")
            transaction.set_rollback(True, using="second")
        with transaction.atomic(using="second"):
            dispatch(TOPIC, 2, id="committed", using="second")
        assert not OutboxRow.objects.exists()
        assert relay(bus).send() == 0
        assert relay(bus, using="second").send() == 1
    finally:
        connections["second"].close()
    assert [event.event_id for event in bus.admin.list_events(TOPIC, "ready")] == ["committed"]
