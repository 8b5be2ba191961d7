"""What a handler writes with Django's ORM takes effect once. With real databases and kills."""

from __future__ import annotations

import asyncio
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from django.core.management import CommandError, call_command
from django.db import IntegrityError, connections
from django_integration.killed_worker import STEPS, TOPIC, add_handler
from duebus import Client, Worker
from duebus.integrations.django import Once, dispatch
from duebus.integrations.django.models import InboxKey, InboxNote, OutboxRow
from duebus.worker import RateLimited
from support.fake_bus import delivery
from support.forking import status_of
from support.wire import SIGNAL_TIMEOUT_S
from support.workers import serving

if TYPE_CHECKING:
    from pathlib import Path

    from duebus import Delivery
    from support.server_process import ServerProcess


def billed() -> list[str]:
    """The events that handlers have written, by id."""
    return list(OutboxRow.objects.order_by("id").values_list("event_id", flat=True))


def write(each: Delivery) -> None:
    dispatch("order.billed", 1, id=each.lease_token)


def handle(each: Delivery, handler: Any = write, **options: Any) -> None:
    """Handle a delivery as a worker does."""
    Once(**options).guard(handler, is_async=False)(each)


@pytest.mark.parametrize("step", STEPS)
def test_a_worker_that_is_killed_has_written_all_or_nothing(
    database: str, server: ServerProcess, bus: Client, step: str
) -> None:
    bus.dispatch(TOPIC, 1)
    assert status_of("django_integration.killed_worker", database, server.address, step) == -signal.SIGKILL
    assert len(billed()) == InboxNote.objects.count() == (step == "committed")
    connections.close_all()

    asyncio.run(handle_the_rest(server, bus))
    assert len(billed()) == InboxNote.objects.count() == 1


async def handle_the_rest(server: ServerProcess, bus: Client) -> None:
    worker = Worker(server.address)
    add_handler(worker)
    async with serving(worker):
        await asyncio.to_thread(poll_until_empty, bus)


def poll_until_empty(bus: Client) -> None:
    """It polls: a server does not announce that a topic is empty."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while bus.admin.get_topic(TOPIC).queued:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_an_event_that_was_handled_is_not_handled_again(database: str) -> None:
    first = delivery("event")
    for each in (first, delivery("event", attempt=2)):
        handle(each)
    assert billed() == [first.lease_token]
    handle(delivery("event", group="other"))
    handle(delivery("event", topic="other"))
    assert len(billed()) == 3


def test_what_a_handler_has_written_when_it_raises_is_rolled_back(database: str) -> None:
    def fail(each: Delivery) -> None:
        write(each)
        raise ValueError("no")

    def note_twice(each: Delivery) -> None:
        for _ in range(2):
            InboxKey.objects.create(
                topic="", consumer_group="", event_key="", fencing_token=1, handled_at=each.dispatched_at
            )

    with pytest.raises(ValueError, match="no"):
        handle(delivery("event"), fail)
    with pytest.raises(IntegrityError):  # of the handler, and not taken for an event that was handled
        handle(delivery("event"), note_twice)
    assert (billed(), InboxNote.objects.count()) == ([], 0)


@pytest.mark.parametrize(("one", "other"), [("event", "Event"), ("event", "event "), ("\u00e9vent", "event")])
def test_events_and_keys_differ_by_each_byte(database: str, one: str, other: str) -> None:
    later = delivery(other, key=one)
    handle(delivery(one, key=other))
    handle(later)
    assert len(billed()) == InboxNote.objects.count() == InboxKey.objects.count() == 2
    assert set(InboxNote.objects.values_list("event_id", flat=True)) == {one, other}


def test_two_workers_with_new_keys_do_not_wait_for_each_other(shared_database: str) -> None:
    """On MySQL, each would if both had locked the gap in which the keys will be."""
    connections["default"].isolation_level = "repeatable read"  # Django's own level locks no gaps

    def second_meanwhile(_: Delivery) -> None:
        with ThreadPoolExecutor(1) as other:
            other.submit(handle, delivery("second", key="customer-2")).result(30)

    handle(delivery("first", key="customer-1"), second_meanwhile)
    assert InboxKey.objects.count() == 2


def test_of_two_workers_at_once_one_commits(shared_database: str) -> None:
    first, second = delivery("event"), delivery("event", attempt=2)

    def second_meanwhile(each: Delivery) -> None:
        write(each)
        with ThreadPoolExecutor(1) as other:
            other.submit(handle, second).result(30)

    handle(first, second_meanwhile)
    assert billed() == [second.lease_token]


def test_a_lease_that_has_run_out_can_not_commit_after_a_later_event_of_its_key(database: str) -> None:
    suspended, next_of_key = delivery("first", key="customer"), delivery("second", key="customer")
    handle(next_of_key)
    with pytest.raises(RuntimeError, match="too late: the lease has run out"):
        handle(suspended)
    assert billed() == [next_of_key.lease_token]
    redriven = delivery("first", key="customer")
    handle(redriven)
    assert billed() == [next_of_key.lease_token, redriven.lease_token]


def test_without_order_events_of_a_key_may_be_committed_in_any(database: str) -> None:
    first, second = delivery("first", key="customer"), delivery("second", key="customer")
    handle(second, ordered=False)
    handle(first, ordered=False)
    assert billed() == [second.lease_token, first.lease_token]


def test_an_outage_of_the_database_uses_up_no_attempt(
    sqlite_database: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    event = delivery("event")
    with monkeypatch.context() as outage:
        connections["default"].close()
        outage.setitem(connections["default"].settings_dict, "NAME", tmp_path / "missing" / "project.db")
        with pytest.raises(RateLimited, match="the database can't be reached: unable to open database file"):
            handle(event)
    handle(event)
    assert billed() == [event.lease_token]


def test_old_notes_are_pruned(sqlite_database: str) -> None:
    handle(delivery("event", key="customer"))
    assert Once().prune(3600) == 0
    assert Once().prune(0.000_001) == 1
    assert not InboxKey.objects.exists()


async def coroutine(_: Delivery) -> None:
    """Is none that a transaction of Django can be around."""


def test_a_coroutine_function_is_refused() -> None:
    with pytest.raises(TypeError, match="Django's transactions need a handler that is a plain function"):
        Worker().add(TOPIC, coroutine, once=Once())


def test_the_class_itself_is_refused() -> None:
    with pytest.raises(TypeError, match=r"Once is a class; write Once\(\)"):
        Worker().add(TOPIC, write, once=Once)


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("missing.worker", "No module named 'missing'"),
        ("django_integration.killed_worker.TOPIC", "TOPIC is a str, not a duebus.Worker"),
    ],
)
def test_the_command_names_what_is_no_worker(name: str, problem: str) -> None:
    with pytest.raises(CommandError, match=problem):
        call_command("duebus_worker", name)
