"""A handler's writes and the note that its event was handled are committed together. With real databases and kills."""

from __future__ import annotations

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from duebus import Worker
from duebus.errors import InvalidArgument
from duebus.integrations.sqlalchemy import Inbox
from duebus.worker import RateLimited
from outbox.handling import STEPS, TOPIC, add_handler, asynchronous, inbox, place
from outbox.program import Order, Shop
from sqlalchemy import MetaData, func, insert, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, sessionmaker
from support.fake_bus import delivery
from support.forking import status_of
from support.mariadb_server import MariadbServer
from support.postgres_server import PostgresServer
from support.wire import SIGNAL_TIMEOUT_S
from support.workers import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from duebus import Client, Delivery
    from support.server_process import ServerProcess

KINDS = ("function", "coroutine")


def orders(shop: Shop) -> list[int]:
    with Session(shop.engine) as session:
        return list(session.scalars(select(Order.id).order_by(Order.id)))


def notes(shop: Shop) -> int:
    with Session(shop.engine) as session:
        return session.scalar(select(func.count()).select_from(inbox.notes)) or 0


@asynccontextmanager
async def handling(shop: Shop, server: ServerProcess, kind: str) -> AsyncIterator[list[BaseException]]:
    """A worker whose handler writes; what it has raised is yielded."""
    worker, raised = Worker(server.address), list[BaseException]()
    add_handler(worker, shop.url, kind, lambda: None)
    task = asyncio.create_task(worker.serve(on_failure=raised.append))
    await worker.ready()
    try:
        yield raised
    finally:
        worker.request_stop()
        await task


async def until_empty(bus: Client) -> None:
    """Wait until the topic has no event left."""
    await asyncio.to_thread(poll_until_empty, bus)


def poll_until_empty(bus: Client) -> None:
    """It polls: a server does not announce that."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while bus.admin.get_topic(TOPIC).queued:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kind", KINDS)
async def test_what_a_handler_writes_is_committed_once(
    shop: Shop, server: ServerProcess, bus: Client, kind: str
) -> None:
    for number in range(20):
        bus.dispatch(TOPIC, number, key=f"customer-{number % 3}")
    async with handling(shop, server, kind):
        await until_empty(bus)
    assert orders(shop) == list(range(20))
    assert notes(shop) == 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_that_is_killed_has_written_all_or_nothing(
    shop: Shop, server: ServerProcess, bus: Client, step: str, kind: str
) -> None:
    bus.dispatch(TOPIC, 1)
    status = await asyncio.to_thread(status_of, "outbox.handling", shop.url, server.address, step, kind)
    assert status == -signal.SIGKILL
    assert orders(shop) == ([1] if step == "committed" else [])
    assert notes(shop) == len(orders(shop))
    assert bus.admin.get_topic(TOPIC).queued == 1

    async with handling(shop, server, kind) as raised:
        await until_empty(bus)
    assert orders(shop) == [1]
    assert notes(shop) == 1
    assert not raised  # a second run of the handler would have raised: the order exists


@pytest.mark.parametrize("kind", [PostgresServer, MariadbServer])
async def test_an_outage_of_the_database_uses_up_no_attempt(
    server: ServerProcess, bus: Client, kind: type[PostgresServer | MariadbServer]
) -> None:
    bus.admin.configure_topic(TOPIC, max_retries=0)
    database = kind()
    try:
        shop = Shop(database.new_database())
        shop.create_tables()
        async with handling(shop, server, "function") as raised:
            bus.dispatch(TOPIC, 1)
            await until_empty(bus)  # the connection is in the pool
            await asyncio.to_thread(database.kill)
            bus.dispatch(TOPIC, 2)
            await asyncio.to_thread(poll_until_paused, bus)
            await asyncio.to_thread(database.restart)
            await until_empty(bus)
        shop.engine.dispose()
        assert orders(shop) == [1, 2]
        assert not raised
    finally:
        database.close()


def poll_until_paused(bus: Client) -> None:
    """It polls: a server does not announce that a group is paused."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while bus.admin.get_topic(TOPIC).groups[0].throttled_until is None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


async def test_an_outage_of_the_database_uses_up_no_attempt_of_a_coroutine_function(tmp_path: Path) -> None:
    engine = create_async_engine(f"sqlite+aiosqlite:///{tmp_path}/missing/shop.db")
    handle = inbox.using(async_sessionmaker(engine)).guard(coroutine, is_async=True)
    with pytest.raises(RateLimited, match=r"the database can't be reached: .* unable to open database file"):
        await handle(delivery("event"))  # type: ignore[misc]  # a coroutine
    await engine.dispose()


# --- the guard, on deliveries as a worker has them ---


def guarded(shop: Shop, handler: Callable[..., Any], made_by: Inbox = inbox) -> Callable[[Delivery], object]:
    """What a worker calls for a function."""
    return made_by.using(sessionmaker(shop.engine)).guard(handler, is_async=False)


def write(each: Delivery, session: Session) -> None:
    session.add(place(each.fencing_token))


def test_an_event_that_was_handled_is_not_handled_again(shop: Shop) -> None:
    first, again = delivery("event"), delivery("event", attempt=2)
    handle = guarded(shop, write)
    handle(first)
    handle(again)
    assert orders(shop) == [first.fencing_token]


def test_groups_and_topics_are_apart(shop: Shop) -> None:
    handle = guarded(shop, write)
    handle(delivery("event"))
    handle(delivery("event", group="other"))
    handle(delivery("event", topic="other"))
    assert len(orders(shop)) == 3


def test_what_a_handler_has_written_when_it_raises_is_rolled_back(shop: Shop) -> None:
    def fail(each: Delivery, session: Session) -> None:
        write(each, session)
        session.flush()
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        guarded(shop, fail)(delivery("event"))
    assert (orders(shop), notes(shop)) == ([], 0)


def test_a_mistake_of_the_handler_is_not_taken_for_an_event_that_was_handled(shop: Shop) -> None:
    def write_twice(_: Delivery, session: Session) -> None:
        session.add(place(1))  # is written with the commit, if not before
        session.execute(insert(Order).values(id=2))

    handle = guarded(shop, write_twice)
    shop.place(1)
    with pytest.raises(IntegrityError):
        handle(delivery("event"))
    assert (orders(shop), notes(shop)) == ([1], 0)


@pytest.mark.parametrize(("one", "other"), [("event", "Event"), ("event", "event "), ("\u00e9vent", "event")])
def test_events_and_keys_differ_by_each_byte(shop: Shop, one: str, other: str) -> None:
    handle = guarded(shop, write)
    later = delivery(other, key=one)
    handle(delivery(one, key=other))
    handle(later)
    assert len(orders(shop)) == 2
    handle(delivery("last", key=other))  # of this key it is the second lease, and the third one of both
    assert len(orders(shop)) == 3
    with Session(shop.engine) as session:
        assert session.scalar(select(func.count()).select_from(inbox.keys)) == 2


def test_two_workers_with_new_keys_do_not_wait_for_each_other(shared_shop: Shop) -> None:
    """On MySQL, each would if both had locked the gap in which the keys will be."""
    with Session(shared_shop.engine) as one, Session(shared_shop.engine) as two:
        for session, key in ((one, "customer-1"), (two, "customer-2")):
            assert not inbox.has(session, delivery(key, key=key))
        for session, key in ((one, "customer-1"), (two, "customer-2")):
            inbox.note(session, delivery(key, key=key))
        one.commit()
        two.commit()
    assert notes(shared_shop) == 2


def test_a_late_worker_learns_of_a_lease_that_was_committed_after_it_began(shared_shop: Shop) -> None:
    """A transaction of MySQL goes on reading what was committed when it began."""
    handle = guarded(shared_shop, write)
    handle(delivery("before", key="customer"))
    late, later = delivery("late", key="customer"), delivery("later", key="customer")

    def later_meanwhile(each: Delivery, session: Session) -> None:
        assert session.scalar(select(func.count()).select_from(inbox.keys)) == 1
        handle(later)

    with pytest.raises(RuntimeError, match=f"theirs {later.fencing_token}"):
        guarded(shared_shop, later_meanwhile)(late)


def test_of_two_workers_at_once_one_commits(shared_shop: Shop) -> None:
    """SQLite lets only one of them write, so there the second one waits before it has written anything."""
    first, second = delivery("event"), delivery("event", attempt=2)

    def second_meanwhile(each: Delivery, session: Session) -> None:
        write(each, session)
        session.flush()
        guarded(shared_shop, write)(second)

    guarded(shared_shop, second_meanwhile)(first)
    assert orders(shared_shop) == [second.fencing_token]
    assert notes(shared_shop) == 1


def test_a_worker_that_has_noted_and_does_not_commit_keeps_nobody_waiting(
    postgres_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("duebus.integrations.sqlalchemy.inbox.MAX_IDLE", "200ms")
    event = delivery("event")
    with Session(postgres_shop.engine) as suspended, ThreadPoolExecutor() as other:
        write(event, suspended)
        inbox.note(suspended, event)
        later = delivery("event", attempt=2)
        other.submit(guarded(postgres_shop, write), later).result(30)
        suspended.invalidate()
    assert orders(postgres_shop) == [later.fencing_token]


def test_a_lease_that_has_run_out_can_not_commit_after_a_later_event_of_its_key(shop: Shop) -> None:
    suspended, next_of_key = delivery("first", key="customer"), delivery("second", key="customer")
    handle = guarded(shop, write)
    handle(next_of_key)  # the first one became a dead letter meanwhile
    with pytest.raises(RuntimeError, match="too late: the lease has run out, and a later event of the key 'customer'"):
        handle(suspended)
    assert orders(shop) == [next_of_key.fencing_token]
    redriven = delivery("first", key="customer")
    handle(redriven)
    assert orders(shop) == [next_of_key.fencing_token, redriven.fencing_token]


def test_without_order_events_of_a_key_may_be_committed_in_any(shop: Shop) -> None:
    metadata = MetaData()
    unordered = Inbox(metadata, name="other", ordered=False)
    metadata.create_all(shop.engine)
    first, second = delivery("first", key="customer"), delivery("second", key="customer")
    handle = guarded(shop, write, unordered)
    handle(second)
    handle(first)
    assert len(orders(shop)) == 2


def test_old_notes_are_pruned(shop: Shop) -> None:
    handle = guarded(shop, write)
    handle(delivery("event", key="customer"))
    with Session(shop.engine) as session, session.begin():
        assert inbox.prune(session, timedelta(hours=1)) == 0
        assert inbox.prune(session, timedelta(microseconds=1)) == 1
        assert session.scalar(select(func.count()).select_from(inbox.keys)) == 0


async def test_a_session_of_asyncio_can_prune_too(sqlite_shop: Shop) -> None:
    engine = create_async_engine(asynchronous(sqlite_shop.url))
    async with AsyncSession(engine) as session, session.begin():
        assert await session.run_sync(inbox.prune, timedelta(days=30)) == 0
    await engine.dispose()


# --- what is registered ---


@dataclass
class Placed:
    id: int


async def test_a_typed_handler_gets_its_payload_the_delivery_and_the_session(
    sqlite_shop: Shop, server: ServerProcess, bus: Client
) -> None:
    worker, got = Worker(server.address), list[Any]()

    def bill(order: Placed, delivery: Delivery, *, session: Session) -> None:
        session.add(place(order.id))
        got.append((order, delivery.topic))

    worker.add(TOPIC, bill, once=sessionmaker(sqlite_shop.engine))
    bus.dispatch(TOPIC, {"id": 7})
    async with serving(worker):
        await until_empty(bus)
    assert got == [(Placed(7), TOPIC)]
    assert orders(sqlite_shop) == [7]


def without_session(_: Any) -> None:
    """Takes no session."""


def function(_: Any, session: Any) -> None:
    """Takes a session."""


async def coroutine(_: Any, session: Any) -> None:
    """Takes one too."""


def generator_of(_: Any, session: Any) -> Any:
    return (part for part in "ab")


@pytest.mark.parametrize(
    ("handler", "once", "problem"),
    [
        (without_session, sessionmaker(), "without_session must accept the delivery and the keyword argument session"),
        (function, async_sessionmaker(), "a handler that is a plain function needs a sessionmaker"),
        (coroutine, sessionmaker(), "a handler that is a coroutine function needs an async_sessionmaker"),
        (function, 5, "once: expected a session factory of SQLAlchemy, got int"),
    ],
)
def test_a_handler_and_its_sessions_must_fit(handler: Callable[..., Any], once: Any, problem: str) -> None:
    with pytest.raises(TypeError, match=problem):
        Worker().add(TOPIC, handler, once=once)


def test_of_a_topic_and_group_one_handler_takes_effect_once() -> None:
    worker = Worker()
    worker.add(TOPIC, function, once=sessionmaker())
    worker.add(TOPIC, without_session)
    with pytest.raises(InvalidArgument, match=r"once: order\.placed/default has a handler with it"):
        worker.add(TOPIC, generator_of, once=sessionmaker())
    worker.add(TOPIC, generator_of, once=sessionmaker(), group="other")
    with pytest.raises(InvalidArgument, match="once: a handler with a batch can't have it"):
        worker.add("other", without_session, once=sessionmaker(), batch=2)


def test_a_handler_that_returns_before_it_has_run_has_failed(shop: Shop) -> None:
    with pytest.raises(TypeError, match="the handler returned a generator: none of its lines has run"):
        guarded(shop, generator_of)(delivery("event"))
    assert notes(shop) == 0
