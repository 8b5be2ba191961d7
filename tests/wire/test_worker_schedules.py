"""Schedules that are declared beside a worker's handlers, on a real server."""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING

import pytest
from duebus import Delivery, Worker, aio
from duebus.errors import InvalidArgument, NotFound, TopicHasSchedules
from duebus.worker.schedules import module_of
from support.builders import unique_name
from support.wire import SIGNAL_TIMEOUT_S
from support.workers import serving

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from support.server_process import ServerProcess


async def test_a_handler_runs_by_its_schedule(server: ServerProcess) -> None:
    name, handled = unique_name("tick"), asyncio.Queue[Delivery]()
    worker = Worker(server.address)

    @worker.every("* * * * * *", name=name, data={"kind": "tick"}, overlap="skip")
    async def tick(delivery: Delivery) -> None:
        handled.put_nowait(delivery)

    async with aio.Client(server.address) as client, serving(worker):
        first, second = [await asyncio.wait_for(handled.get(), SIGNAL_TIMEOUT_S) for _ in range(2)]
        info = await client.schedules.get(name)
        await client.schedules.delete(name)

    assert first.json() == {"kind": "tick"}
    assert first.event_id != second.event_id
    assert (info.schedule.topic, info.schedule.overlap) == (name, "skip")


async def test_twenty_workers_declare_a_schedule_at_once(
    server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    name, handled = unique_name("tick"), asyncio.Queue[str]()

    def make() -> Worker:
        worker = Worker(server.address)

        @worker.every(timedelta(seconds=1), name=name)
        async def tick(delivery: Delivery) -> None:
            handled.put_nowait(delivery.event_id)

        return worker

    async with aio.Client(server.address) as client, AsyncExitStack() as stack:
        for worker in [make() for _ in range(20)]:
            await stack.enter_async_context(serving(worker))
        ids = [await asyncio.wait_for(handled.get(), SIGNAL_TIMEOUT_S) for _ in range(3)]
        await client.schedules.delete(name)

    assert len(set(ids)) == len(ids)
    assert "no longer" not in caplog.text


async def test_what_is_no_longer_declared_is_reported_and_stays(
    server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    old, kept = unique_name("old"), unique_name("kept")

    def worker(*names: str) -> Worker:
        made = Worker(server.address)
        for each in names:
            made.every("0 0 1 1 *", name=each)(handle)
        return made

    async with aio.Client(server.address) as client:
        async with serving(worker(old, kept)):
            pass
        assert old not in caplog.text
        async with serving(worker(kept)):
            pass

        assert f"the schedule {old} was declared in" in caplog.text
        assert (await client.schedules.get(old)).next
        for name in (old, kept):
            await client.schedules.delete(name)


async def handle(_delivery: Delivery) -> None:
    pass


async def test_a_schedule_that_cannot_be_stored_ends_the_worker(server: ServerProcess, topic: str) -> None:
    wrong = Worker(server.address)
    wrong.every("0 25 * * *", name=unique_name("wrong"))(handle)
    with pytest.raises(InvalidArgument, match="hour"):
        await asyncio.wait_for(wrong.serve(), SIGNAL_TIMEOUT_S)

    uncountable = Worker(server.address)
    uncountable.every(3_600, name=unique_name("uncountable"), max_runs=2.5)(handle)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match=r"^max_runs: expected an int, got float$"):
        await asyncio.wait_for(uncountable.serve(), SIGNAL_TIMEOUT_S)

    async with aio.Client(server.address) as client:
        name = unique_name("elsewhere")
        await client.schedules.put(name, topic, b"", every=3_600)
        moved = Worker(server.address)
        moved.every(3_600, name=name)(handle)
        with pytest.raises(TopicHasSchedules):
            await asyncio.wait_for(moved.serve(), SIGNAL_TIMEOUT_S)
        await client.schedules.delete(name)


async def test_functions_of_two_modules_have_schedules_of_their_own(server: ServerProcess) -> None:
    """Both were stored under the function's name, so each replaced the other's."""
    modules = [unique_name("module") for _ in range(2)]
    async with aio.Client(server.address) as client, AsyncExitStack() as stack:
        for module in modules:
            worker = Worker(server.address)
            worker.every("0 0 1 1 *")(tick_of(module))
            await stack.enter_async_context(serving(worker))
        names = [f"{module}._tick" for module in modules]
        assert [(await client.schedules.get(name)).schedule.topic for name in names] == names
        for name in names:
            await client.schedules.delete(name)


def tick_of(module: str) -> Callable[[Delivery], Awaitable[None]]:
    async def _tick(_delivery: Delivery) -> None:
        pass

    _tick.__module__ = module
    return _tick


@pytest.mark.parametrize(
    ("spec", "file", "expected"),
    [
        (ModuleSpec("shop.__main__", None), "/app/shop/__main__.py", "shop"),
        (ModuleSpec("shop.jobs", None), "/app/shop/jobs.py", "shop.jobs"),
        (None, "/app/shop/jobs.py", "jobs"),
        (None, None, "main"),
    ],
    ids=["package", "module", "file", "neither"],
)
def test_a_program_has_the_name_of_its_module(
    monkeypatch: pytest.MonkeyPatch, spec: ModuleSpec | None, file: str | None, expected: str
) -> None:
    main = ModuleType("__main__")
    main.__spec__, main.__file__ = spec, file
    monkeypatch.setitem(sys.modules, "__main__", main)

    assert module_of(tick_of("__main__")) == expected
    assert module_of(tick_of("reports")) == "reports"


async def test_a_schedule_that_has_ended_does_not_end_the_worker(
    server: ServerProcess, caplog: pytest.LogCaptureFixture
) -> None:
    name, other = unique_name("ended"), unique_name("other")
    worker = Worker(server.address)
    worker.every(60, name=name, end=datetime(2024, 1, 1, tzinfo=UTC))(handle)
    worker.every(3_600, name=other)(handle)

    async with aio.Client(server.address) as client, serving(worker):
        await client.schedules.delete(other)
        with pytest.raises(NotFound):
            await client.schedules.get(name)

    assert f"the schedule {name} has ended and is not stored: schedule.end: " in caplog.text


def test_a_name_is_declared_once() -> None:
    worker = Worker()
    worker.every(60, name="tick", topic="one")(handle)
    with pytest.raises(InvalidArgument, match="has a schedule 'tick' already"):
        worker.every(60, name="tick", topic="two")(handle)


def test_a_decorator_without_a_rule_is_refused() -> None:
    with pytest.raises(TypeError, match=r"write @worker\.every"):
        Worker().every(handle)  # type: ignore[arg-type]  # what is refused
