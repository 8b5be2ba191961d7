"""What was committed is dispatched once and in order; what was rolled back is not. With real databases and kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest
from duebus import Client, KeyPolicy
from duebus.errors import InvalidArgument, Unavailable
from duebus.integrations.outbox import first_free, new_row, wait_for_announcement
from duebus.v1 import event_bus_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from outbox.handling import asynchronous
from outbox.program import STEPS, Order, Shop, outbox
from sqlalchemy import create_engine, delete, select, text, update
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from support.cli import Cli, Running, environment
from support.documents import ROOT, blocks
from support.forking import status_of
from support.mariadb_server import MariadbServer
from support.outboxes import TOPIC, check_large_events, check_text, received
from support.postgres_server import PostgresServer
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from duebus import EventInfo
    from support.server_process import ServerProcess

GUIDE = ROOT / "docs" / "outbox.md"
ADDRESS = "127.0.0.1:50051"


def test_what_is_committed_is_dispatched_and_what_is_rolled_back_is_not(shop: Shop, bus: Client) -> None:
    shop.place(1)
    shop.place(2, roll_back=True)
    shop.place(3, 4)
    with shop.relay(bus).running():
        assert sorted(received(bus, 3)) == [1, 3, 4]
    assert shop.rows() == []
    with shop.engine.connect() as connection:
        assert connection.scalars(select(Order.id)).all() == [1, 3, 4]
    assert bus.admin.get_topic(TOPIC).queued == 0


def test_what_a_savepoint_rolls_back_is_not_dispatched(shop: Shop, bus: Client) -> None:
    with Session(shop.engine) as session, session.begin():
        outbox.dispatch(session, TOPIC, 1, id="kept")
        with session.begin_nested() as savepoint:
            outbox.dispatch(session, TOPIC, 2)
            session.flush()
            savepoint.rollback()
    assert shop.relay(bus).send() == 1
    assert [event.event_id for event in bus.admin.list_events(TOPIC, "ready")] == ["kept"]


def test_an_event_has_all_that_it_was_given(shop: Shop, bus: Client) -> None:
    due = datetime.now(UTC) + timedelta(hours=1)
    with Session(shop.engine) as session, session.begin():
        known = outbox.dispatch(
            session,
            TOPIC,
            b"<order/>",
            at=due,
            attributes={"tenant": "acme"},
            content_type="application/xml",
            max_retries=7,
            key="order-1",
            priority=-60,
        )
        delayed = outbox.dispatch(session, TOPIC, "text", delay=timedelta(minutes=30))
    shop.relay(bus).send()
    event = bus.admin.get_event(TOPIC, known)
    assert (event.data, event.content_type) == (b"<order/>", "application/xml")
    assert (event.attributes["tenant"], event.max_retries) == ("acme", 7)
    assert (event.key, event.priority) == ("order-1", -60)
    assert due_of(event) == due
    later = due_of(bus.admin.get_event(TOPIC, delayed)) - datetime.now(UTC)
    assert timedelta(minutes=29) < later <= timedelta(minutes=30)


def due_of(event: EventInfo) -> datetime:
    """When it is due in the group that the topic will have first."""
    (group,) = event.groups
    assert group.deliver_at is not None
    return group.deliver_at


async def test_an_asynchronous_session_needs_no_await(shop: Shop, bus: Client) -> None:
    engine = create_async_engine(asynchronous(shop.url))
    async with async_sessionmaker(engine).begin() as session:
        session.add(Order(id=1))
        outbox.dispatch(session, TOPIC, 1)
    await engine.dispose()
    assert shop.relay(bus).send() == 1
    assert received(bus, 1) == [1]


def test_a_scoped_session_passes_the_row_on(shop: Shop, bus: Client) -> None:
    session = scoped_session(sessionmaker(shop.engine))
    outbox.dispatch(session, TOPIC, 1)
    session.commit()
    session.remove()
    assert shop.relay(bus).send() == 1


def test_a_transaction_may_have_many_large_events(shop: Shop, bus: Client) -> None:
    def write(large: Sequence[bytes]) -> None:
        with Session(shop.engine) as session, session.begin():
            for data in large:
                outbox.dispatch(session, TOPIC, data, key="large")

    check_large_events(write, shop.relay(bus), bus)


def test_text_is_kept_whatever_the_character_set_of_the_database_is(shop: Shop, bus: Client) -> None:
    with Session(shop.engine) as session:

        def write(*event: Any, **options: Any) -> None:
            outbox.dispatch(session, *event, **options)
            session.commit()

        check_text(write, shop.relay(bus), lambda: shop.rows().pop())


# --- crashes ---


@pytest.mark.parametrize("step", STEPS)
def test_a_relay_that_is_killed_loses_nothing_and_adds_nothing(
    shop: Shop, bus: Client, server: ServerProcess, step: str
) -> None:
    shop.place(1, 2, 3)
    shop.place(4, roll_back=True)
    assert status_of("outbox.program", shop.url, server.address, step) == -signal.SIGKILL

    shop.place(5)
    relay = shop.relay(bus)
    while relay.send():
        pass

    assert shop.rows() == []
    assert sorted(received(bus, 4)) == [1, 2, 3, 5]
    assert bus.admin.get_topic(TOPIC).queued == 0


def test_a_server_that_was_away_gets_everything(
    shop: Shop, start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    first = start_server("--data-dir", str(tmp_path / "bus"))
    with Client(first.address, timeout=10) as client:
        relay = shop.relay(client)
        with relay.running():
            shop.place(1)
            assert received(client, 1) == [1]
            first.kill()
            shop.place(2, 3)
            start_server("--data-dir", str(tmp_path / "bus"), "--listen", first.address)
            client.dispatch("other", 1)  # is retried until the channel has connected again
            assert sorted(received(client, 2)) == [2, 3]


@pytest.mark.parametrize("kind", [PostgresServer, MariadbServer])
def test_a_database_that_was_away_is_read_again(bus: Client, kind: type[PostgresServer | MariadbServer]) -> None:
    database = kind()
    try:
        shop = Shop(database.new_database())
        shop.create_tables()
        with shop.relay(bus).running():
            shop.place(1)
            assert received(bus, 1) == [1]
            with shop.engine.begin() as connection:
                connection.execute(delete(outbox.slots))  # as if they were among the last commits, which it may lose
            database.kill()
            database.restart()
            shop.engine.dispose()  # the application's connections
            shop.place(2)
            assert received(bus, 1) == [2]
    finally:
        database.close()


# --- order, and several relays ---


def test_several_relays_keep_the_order_of_each_key(shared_shop: Shop, bus: Client) -> None:
    shop, keys = shared_shop, [f"customer-{number}" for number in range(7)]
    with ExitStack() as relays:
        for _ in range(3):
            relays.enter_context(shop.relay(bus).running())
        for number in range(0, 700, 7):
            for offset, key in enumerate(keys):
                shop.place(number + offset, key=key)
        got = received(bus, 700)
    assert sorted(got) == list(range(700))
    for offset in range(7):
        assert [number for number in got if number % 7 == offset] == list(range(offset, 700, 7))


def test_slots_that_another_relay_has_claimed_are_left_alone(shared_shop: Shop, bus: Client) -> None:
    one, two = shared_shop.relay(bus), shared_shop.relay(bus)
    one.send()  # makes the slots
    shared_shop.place(1, key="a")
    with one._store.claim("", 10, 1 << 20, [], []) as claimed:
        assert len(claimed.rows) == 1
        assert two.send() == 0
        shared_shop.place(2, key="a")  # writers do not wait
    assert two.send() == 2
    assert received(bus, 2) == [1, 2]


def test_what_others_have_not_committed_does_not_hold_up_a_relay(shared_shop: Shop, bus: Client) -> None:
    """MariaDB likes to read the whole of a table, and who deletes waits for each locked row on the way."""
    one, two = shared_shop.relay(bus), shared_shop.relay(bus)
    one.send()  # makes the slots
    shared_shop.place(*range(10), key="a")
    with Session(shared_shop.engine) as writing:
        outbox.dispatch(writing, TOPIC, 100)
        writing.flush()
        with one._store.claim("", 100, 1 << 20, [], []) as claimed:
            claimed.remove([row.id for row in claimed.rows])
            shared_shop.place(*range(10, 20), key="b")
            assert two.send() == 10
        writing.commit()
    assert two.send() == 1
    assert shared_shop.rows() == []


@pytest.mark.parametrize("level", ["REPEATABLE READ", "SERIALIZABLE"])
def test_rows_that_another_relay_has_sent_meanwhile_are_not_claimed(
    shared_shop: Shop, bus: Client, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the isolation level of the application's engine is."""
    engine = create_engine(shared_shop.url, isolation_level=level)
    one, two = outbox.relay(engine, bus), shared_shop.relay(bus)
    one.send()  # makes the slots
    shared_shop.place(1)

    def send_and_lock(*arguments: Any) -> Any:
        monkeypatch.undo()
        assert two.send() == 1
        return first_free(*arguments)

    monkeypatch.setattr("duebus.integrations.sqlalchemy.outbox.first_free", send_and_lock)
    with one._store.claim("", 10, 1 << 20, [], []) as claimed:
        assert claimed.rows == []
    engine.dispose()


def test_a_relay_that_is_frozen_does_not_keep_its_slots(
    shared_shop: Shop, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = shared_shop.relay(bus), shared_shop.relay(bus)
    one.send()  # makes the slots
    shared_shop.place(1)
    monkeypatch.setattr("duebus.integrations.outbox.MAX_IDLE_S", 1)
    with suppress(DBAPIError), one._store.claim("", 10, 1 << 20, [], []):
        deadline = time.monotonic() + SIGNAL_TIMEOUT_S
        while not two.send():  # the database does not tell when it ends the transaction of another
            assert time.monotonic() < deadline
    assert received(bus, 1) == [1]


def test_a_claim_reads_no_more_rows_than_it_needs(mariadb_shop: Shop, bus: Client) -> None:
    """Else a long backlog is read as a whole for each claim."""
    mariadb_shop.place(*range(2_000), key="a")
    store = mariadb_shop.relay(bus)._store
    store.prepare()
    before = rows_read(mariadb_shop)
    with store.claim("", 10, 1 << 20, [], []) as claimed:
        assert len(claimed.rows) == 10
    assert rows_read(mariadb_shop) - before < 500


def test_a_claim_does_not_read_the_rows_that_wait(shared_shop: Shop, bus: Client) -> None:
    """Else a topic that is full makes each claim slower, and so all other topics."""
    shared_shop.place(*range(2_000), key="a", topic="full")
    shared_shop.place(2_000, key="a")
    store = shared_shop.relay(bus)._store
    store.prepare()
    analyze(shared_shop)
    before = rows_read(shared_shop)
    with store.claim("", 10, 1 << 20, ["full"], []) as claimed:
        assert (claimed.topic, len(claimed.rows)) == (TOPIC, 1)
        assert rows_read(shared_shop, claimed) - before < 500


def test_a_claim_of_one_key_reads_no_more_rows_than_it_needs(postgres_shop: Shop, bus: Client) -> None:
    """If all rows have one slot, PostgreSQL likes to look for those of any slot in the order of their ids."""
    postgres_shop.place(*range(2_000), key="a")
    store = postgres_shop.relay(bus)._store
    store.prepare()
    analyze(postgres_shop)
    with store.claim("", 10, 1 << 20, [], []) as claimed:
        assert len(claimed.rows) == 10
        assert rows_read(postgres_shop, claimed) < 500


def analyze(shop: Shop) -> None:
    """Let PostgreSQL know how many rows there are. Else they would be too few for an index, as far as it knew."""
    if shop.engine.dialect.name == "postgresql":
        with shop.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text("ANALYZE"))


def rows_read(shop: Shop, claim: Any = None) -> int:
    """How many rows MariaDB has read since it was started, or PostgreSQL in the transaction of a claim."""
    if shop.engine.dialect.name == "postgresql":
        read = text("SELECT sum(seq_tup_read + idx_tup_fetch) FROM pg_stat_xact_user_tables")
        return int(claim._connection.scalar(read)) if claim else 0
    with shop.engine.connect() as connection:
        return int(connection.execute(text("SHOW GLOBAL STATUS LIKE 'Rows_read'")).one()[1])


def test_a_claim_leaves_the_connection_as_it_was(mariadb_shop: Shop, bus: Client) -> None:
    """It goes back to the pool of the application."""
    limit = text("SELECT @@SESSION.wait_timeout, @@SESSION.tx_isolation")
    with mariadb_shop.engine.connect() as connection:
        before = connection.execute(limit).one()
    relay = mariadb_shop.relay(bus)
    relay.send()
    with suppress(ZeroDivisionError), relay._store.claim("", 10, 1 << 20, [], []):
        raise ZeroDivisionError
    with mariadb_shop.engine.connect() as connection:
        assert connection.execute(limit).one() == before


def test_postgres_announces_a_commit(postgres_shop: Shop, bus: Client) -> None:
    relay = postgres_shop.relay(bus, poll_s=600)
    with bus.subscribe(TOPIC, group="billing") as billing, relay.running():  # which ends long before the poll
        for number in range(20):
            postgres_shop.place(number)
            delivery = next(iter(billing))
            assert delivery.json() == number
            bus.ack(delivery)


def test_a_relay_needs_one_connection_of_a_pool(postgres_shop: Shop, bus: Client) -> None:
    engine = create_engine(postgres_shop.url, pool_size=1, max_overflow=0, pool_timeout=0.1)
    relay = outbox.relay(engine, bus, poll=0.01)
    for number in (1, 2):
        postgres_shop.place(number)
        assert relay.send() == 1
        relay._store.wait(0.01, threading.Event())  # listens on a connection
    relay._store.close()
    engine.dispose()


def test_what_keeps_a_relay_from_reading_is_one_line(
    tmp_path: Path, bus: Client, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay = Shop(f"sqlite:///{tmp_path}/empty.db").relay(bus)
    monkeypatch.setattr(relay._stopped, "wait", lambda _: relay.stop())
    relay.run()
    assert caplog.messages == ["the outbox can't be read: no such table: duebus_outbox_slot"]


def test_a_session_with_two_phases_can_be_committed(shared_shop: Shop, bus: Client) -> None:
    with Session(shared_shop.engine, twophase=True) as session:
        outbox.dispatch(session, TOPIC, 1)
        session.commit()
    assert shared_shop.relay(bus).send() == 1
    assert received(bus, 1) == [1]


def test_a_relay_that_overlaps_another_on_sqlite_removes_only_what_it_has_sent(sqlite_shop: Shop, bus: Client) -> None:
    one, two = sqlite_shop.relay(bus), sqlite_shop.relay(bus)
    one.send()  # makes the slots
    sqlite_shop.place(1)
    with one._store.claim("", 10, 1 << 20, [], []) as claimed:
        assert two.send() == 1
        sqlite_shop.place(2)
        claimed.remove([row.id for row in claimed.rows])
    assert [row.event_id for row in sqlite_shop.rows()] == ["order-2"]


def test_a_relay_can_run_again_after_it_was_stopped(shop: Shop, bus: Client) -> None:
    relay = shop.relay(bus, poll_s=600)
    for number in (1, 2):
        shop.place(number)
        with relay.running():
            assert received(bus, 1) == [number]


async def test_an_engine_for_asyncio_is_refused(sqlite_shop: Shop, bus: Client) -> None:
    engine = create_async_engine(asynchronous(sqlite_shop.url))
    for each in (engine, engine.sync_engine):
        with pytest.raises(TypeError, match="engine: expected one that is not for asyncio"):
            outbox.relay(each, bus)  # type: ignore[arg-type]  # on purpose
    await engine.dispose()


# --- what can't be sent ---


def test_a_full_topic_does_not_hold_up_the_others(shop: Shop, bus: Client) -> None:
    bus.admin.configure_topic("full", max_queued=3)
    shop.place(*range(600), topic="full")  # more than one batch
    shop.place(600)
    relay = shop.relay(bus)
    relay.send()
    relay.send()
    assert received(bus, 1) == [600]
    assert [(row.topic, row.error) for row in shop.rows()] == [("full", None)] * 597  # it had room for three

    with relay.running():
        assert sorted(received(bus, 600, "full")) == list(range(600))


def test_topics_for_which_the_server_does_not_answer_do_not_hold_up_the_others(
    shop: Shop, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each takes the whole timeout, so the first one may be tried again before the last one was."""
    monkeypatch.setattr("duebus._core.backoff._INITIAL", 0)
    dispatch_many = bus.dispatch_many

    def dispatch(topic: str, *arguments: Any, **options: Any) -> Any:
        if topic.startswith("down"):
            raise Unavailable("no answer")
        return dispatch_many(topic, *arguments, **options)

    monkeypatch.setattr(bus, "dispatch_many", dispatch)
    for number, topic in enumerate(("down-1", "down-2", "down-3", TOPIC)):
        shop.place(number, topic=topic)
    shop.relay(bus).send()
    assert {row.topic for row in shop.rows()} == {"down-1", "down-2", "down-3"}


def test_that_rows_wait_and_that_they_are_accepted_again_is_logged_once(
    sqlite_shop: Shop, bus: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "duebus.outbox")
    bus.admin.configure_topic("full", max_queued=1)
    sqlite_shop.place(1, 2, 3, topic="full")
    relay = sqlite_shop.relay(bus)
    relay.send()
    for number in (1, 2):
        assert received(bus, 1, "full") == [number]
        while relay._topics.waiting():
            time.sleep(0.01)  # the server has asked for a pause
        relay.send()
    waiting, accepted = caplog.messages
    assert waiting.startswith("rows of the outbox for full wait: ")
    assert accepted.startswith("rows of the outbox for full are accepted again after ")


def test_a_full_key_does_not_hold_up_the_others(shop: Shop, bus: Client) -> None:
    bus.admin.configure_topic(TOPIC, keys=KeyPolicy(max_blocked=2))
    with bus.subscribe(TOPIC, group="billing", max_in_flight=1) as billing:
        shop.place(*range(600), key="hot")
        shop.place(*range(600, 605), key="cool")
        relay = shop.relay(bus)
        relay.send()
        relay.send()
        assert {row.event_id for row in shop.rows()}.isdisjoint(f"order-{number}" for number in range(600, 603))
        assert next(iter(billing)).key == "hot"


def test_a_full_key_does_not_hold_up_the_keys_of_its_slot(
    shop: Shop, bus: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duebus._core.backoff._INITIAL", 60)
    bus.admin.configure_topic(TOPIC, keys=KeyPolicy(max_blocked=2))
    cool = next(key for number in count() if slot_of(key := f"cool-{number}") == slot_of("hot"))
    with bus.subscribe(TOPIC, group="billing", max_in_flight=1):
        shop.place(*range(10), key="hot")
        shop.place(10, key=cool)
        shop.place(11, key="hot", topic=f"{TOPIC}.later")
        relay = shop.relay(bus)
        relay.send()
        assert {row.event_id for row in shop.rows()} <= {f"order-{number}" for number in range(1, 10)}
        assert relay.send() == 0  # the key is not tried again and again


def slot_of(key: str) -> int:
    return int(new_row(TOPIC, None, key=key)["slot"])


def test_a_topic_that_was_full_is_tried_again_before_the_next_poll(shop: Shop, bus: Client) -> None:
    bus.admin.configure_topic("full", max_queued=1)
    shop.place(1, 2, 3, topic="full")
    with shop.relay(bus, poll_s=600).running():
        assert sorted(received(bus, 3, "full")) == [1, 2, 3]


NO_EVENTS = (b"no event", event_bus_pb2.Event(deliver_at=Timestamp(seconds=1 << 60)).SerializeToString())


@pytest.mark.parametrize("stored", NO_EVENTS)
def test_a_row_that_holds_no_event_does_not_hold_up_the_others(shop: Shop, bus: Client, stored: bytes) -> None:
    shop.place(1, 2, 3, key="a")
    store_event(shop, "order-2", stored)
    shop.relay(bus).send()
    assert received(bus, 2) == [1, 3]
    (row,) = shop.rows()
    assert "event: can't be read" in row.error


def store_event(shop: Shop, event_id: str, stored: bytes) -> None:
    """Change what the row of an event holds."""
    with shop.engine.begin() as connection:
        connection.execute(update(outbox.table).where(outbox.table.c.event_id == event_id).values(event=stored))


def test_a_row_that_the_server_refuses_keeps_the_reason(shop: Shop, bus: Client) -> None:
    shop.place(1, 2, 3)
    store_event(shop, "order-2", event_bus_pb2.Event(id="order-2", key="k" * 256).SerializeToString())
    relay = shop.relay(bus)
    relay.send()
    assert sorted(received(bus, 2)) == [1, 3]
    (row,) = shop.rows()
    assert "key" in row.error
    assert relay.send() == 0

    with shop.engine.begin() as connection:  # as an operator would, once the server allows it
        connection.execute(update(outbox.table).values(error=None))
    assert relay.send() == 1
    (row,) = shop.rows()
    assert "key" in row.error


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"topic": ""}, "topic"),
        ({"topic": "two words"}, "topic"),
        ({"data": b"x" * ((1 << 20) + 1)}, "data"),
        ({"delay": 1, "at": datetime.now(UTC)}, "delay"),
        ({"priority": 1 << 40}, "priority"),
        ({"priority": -86_401}, "priority"),
        ({"key": "k" * 256}, "key"),
        ({"key": "a\nb"}, "key"),
        ({"id": "i" * 256}, "id"),
        ({"content_type": "t" * 256}, "content_type"),
        ({"attributes": {"a": "x" * (64 << 10)}}, "attributes"),
        ({"attributes": {"": "x"}}, "attributes"),
        ({"delay": -1}, "delay"),
        ({"delay": timedelta(days=3_651)}, "delay"),
        ({"delay": timedelta(days=365 * 9_000)}, "delay"),
        ({"at": datetime.now(UTC) + timedelta(days=3_651)}, "at"),
        ({"at": datetime(2200, 1, 1, tzinfo=UTC)}, "at"),
    ],
)
def test_a_bad_argument_is_refused_in_the_transaction(shop: Shop, arguments: dict[str, Any], field: str) -> None:
    given: dict[str, Any] = {"topic": TOPIC, "data": 1} | arguments
    with Session(shop.engine) as session:
        with pytest.raises(InvalidArgument) as refused:
            outbox.dispatch(session, given.pop("topic"), given.pop("data"), **given)
        session.commit()
    assert [each.field for each in refused.value.field_violations] == [field]
    assert shop.rows() == []


# --- the command ---


def test_the_command_sends_until_it_is_ended(shop: Shop, server: ServerProcess, bus: Client) -> None:
    cli = Cli(server.address)
    with cli.start("outbox", "relay", "--database", shop.url) as relay:
        relay.wait_for("Ctrl-C ends")
        shop.place(1)
        assert received(bus, 1) == [1]
        assert relay.end(signal.SIGTERM).status == 0


@pytest.mark.parametrize(
    ("database", "problem"),
    [
        ("nonsense", "--database: Could not parse SQLAlchemy URL"),
        ("sqlite+aiosqlite://", "--database: aiosqlite is a driver for asyncio"),
        ("sqlite://", "--database: there is no table duebus_outbox: create it with your migrations"),
    ],
)
def test_a_database_that_can_not_be_used_is_one_line(server: ServerProcess, database: str, problem: str) -> None:
    result = Cli(server.address).run("outbox", "relay", "--database", database)
    assert result.status != 0
    assert result.err.count("\n") == 1
    assert problem in result.err


# --- the guide ---


def test_the_guide_commits_an_order_with_its_event(server: ServerProcess, bus: Client, tmp_path: Path) -> None:
    writing, relaying = blocks(GUIDE.read_text(), "python")
    (counting,) = blocks(GUIDE.read_text(), "sql")
    writer = subprocess.run([sys.executable, "-c", writing], cwd=tmp_path, check=False, env=environment())
    assert writer.returncode == 0
    shop = Shop(f"sqlite:///{tmp_path}/shop.db")
    with shop.engine.connect() as connection:
        assert connection.execute(text(counting)).one()[0] == 1
    relay = relaying.replace(ADDRESS, server.address).replace("...", "input()")
    process = subprocess.Popen(
        [sys.executable, "-c", relay], cwd=tmp_path, stdin=subprocess.PIPE, env=environment(), text=True
    )
    with Running(process), bus.subscribe(TOPIC, group="billing") as billing:
        delivery = next(iter(billing))
        assert (delivery.json(), delivery.key) == ({"id": 42}, "order-42")
        process.communicate("\n")
        assert process.returncode == 0


class OlderConnection:
    """Of psycopg 3.1, whose `notifies` would wait forever: it has no timeout."""

    def notifies(self) -> list[None]:
        raise AssertionError("would wait forever")


def test_with_an_older_psycopg_a_relay_polls() -> None:
    began = time.monotonic()
    wait_for_announcement(OlderConnection(), 0.02, threading.Event())
    assert time.monotonic() - began >= 0.02
