"""The backend for Django's tasks: what Django's own tests of backends ask for, and what DueBus adds."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from asgiref.sync import async_to_sync
from django.core.checks import run_checks
from django.core.management import CommandError, call_command
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone
from django_integration import tasks
from duebus import Client, aio
from duebus.integrations.django import DueBusBackend, relay
from duebus.integrations.django import _task_api as api
from duebus.integrations.django.models import OutboxRow, TaskRun
from duebus.integrations.django.tasks import make_worker, run_task
from duebus.v1 import event_bus_pb2
from duebus.worker import DeadLetter, RateLimited, RetryAfter
from support.django_project import BACKEND
from support.fake_bus import delivery
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus import Delivery, Worker
    from support.server_process import ServerProcess

pytestmark = pytest.mark.usefixtures("sqlite_database")

Status = api.TaskResultStatus
WITHOUT_RESULTS = {"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"]}}


def backend() -> DueBusBackend:
    found: DueBusBackend = api.task_backends["default"]
    return found


def with_options(**options: Any) -> Any:
    """Settings whose backend has these options, and keeps results."""
    return override_settings(
        TASKS={"default": {"BACKEND": BACKEND, "QUEUES": ["default", "mail"], "OPTIONS": {"results": True, **options}}}
    )


def events() -> list[event_bus_pb2.Event]:
    """What the outbox holds."""
    return [event_bus_pb2.Event.FromString(bytes(row.event)) for row in OutboxRow.objects.order_by("id")]


# --- enqueueing ---


def test_the_backend_is_the_one_of_the_settings() -> None:
    assert isinstance(api.task_backends["default"], DueBusBackend)
    assert backend().supports_defer
    assert backend().supports_async_task
    assert backend().supports_priority
    assert backend().supports_get_result


@pytest.mark.parametrize("task", [tasks.noop, tasks.noop_async])
def test_a_task_is_enqueued(task: Any) -> None:
    result = task.enqueue(1, two=3)
    assert result.status == Status.READY
    assert not result.is_finished
    assert (result.started_at, result.finished_at, result.last_attempted_at) == (None, None, None)
    assert result.enqueued_at is not None
    assert (result.task, result.args, result.kwargs, result.attempts) == (task, [1], {"two": 3}, 0)
    assert (result.errors, result.worker_ids, result.backend) == ([], [], "default")
    with pytest.raises(ValueError, match="Task has not finished yet"):
        result.return_value  # noqa: B018 - a property
    (event,) = events()
    assert event.id == result.id


@pytest.mark.parametrize("task", [tasks.noop, tasks.noop_async])
def test_a_task_is_enqueued_in_asyncio(task: Any) -> None:
    result = async_to_sync(task.aenqueue)()
    assert (result.status, result.args, result.kwargs) == (Status.READY, [], {})
    assert [event.id for event in events()] == [result.id]


def test_a_task_is_enqueued_on_commit() -> None:
    with transaction.atomic():
        result = tasks.noop.enqueue()
        transaction.set_rollback(True)
    assert (OutboxRow.objects.count(), TaskRun.objects.count()) == (0, 0)
    with pytest.raises(api.TaskResultDoesNotExist):
        tasks.noop.get_result(result.id)
    with transaction.atomic():
        result = tasks.noop.enqueue()
    assert tasks.noop.get_result(result.id) == result


def test_an_argument_that_is_not_of_json_is_refused() -> None:
    with pytest.raises(TypeError):
        tasks.noop.enqueue(datetime.now(UTC))
    assert not OutboxRow.objects.exists()


def test_run_after_priority_and_queue_are_those_of_the_event() -> None:
    later = timezone.now() + timedelta(hours=1)
    result = tasks.noop.using(run_after=later, priority=100, queue_name="mail").enqueue()
    (row,), (event,) = OutboxRow.objects.all(), events()
    assert row.topic == "tasks.mail"
    assert event.deliver_at.ToDatetime(UTC) == later
    assert event.priority == 86_400
    assert (result.task.queue_name, result.task.priority, result.task.run_after) == ("mail", 100, later)
    assert tasks.noop.get_result(result.id).task == result.task


@override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin")
def test_a_moment_without_a_zone_is_in_that_of_the_project() -> None:
    tasks.noop.using(run_after=datetime(2030, 7, 1, 14)).enqueue()  # noqa: DTZ001 - as such a project has them
    assert events()[0].deliver_at.ToDatetime(UTC) == datetime(2030, 7, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"priority": 101}, "priority must be a whole number between -100 and 100"),
        ({"priority": -101}, "priority must be a whole number between -100 and 100"),
        ({"priority": 3.1}, "priority must be a whole number between -100 and 100"),
        ({"queue_name": "unknown"}, "Queue 'unknown' is not valid for backend"),
        ({"run_after": datetime(2100, 1, 1)}, "run_after must be an aware datetime"),  # noqa: DTZ001 - it is wrong
    ],
)
def test_a_task_that_does_not_fit_is_refused(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(api.InvalidTask, match=problem):
        tasks.noop.using(**changes)


def test_a_task_is_validated_when_it_is_enqueued() -> None:
    on_mail = tasks.noop.using(queue_name="mail")
    with (
        override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": ["default"]}}),
        pytest.raises(api.InvalidTask, match="Queue 'mail' is not valid for backend"),
    ):
        on_mail.enqueue()


def test_checks_find_a_queue_that_can_not_be_a_topic() -> None:
    assert not [each for each in run_checks() if "TASKS" in each.msg]
    with override_settings(TASKS={"default": {"BACKEND": BACKEND, "QUEUES": ["default", "two words"]}}):
        (error,) = backend().check()
    assert "'two words'" in error.msg


# --- results ---


def test_a_result_is_found_again() -> None:
    result = tasks.noop.enqueue(1)
    assert backend().get_result(result.id) == result
    assert async_to_sync(backend().aget_result)(result.id) == result
    assert tasks.noop.get_result(result.id) == result
    before = dataclasses.asdict(result)
    result.refresh()
    async_to_sync(result.arefresh)()
    assert dataclasses.asdict(result) == before


def test_a_result_that_does_not_exist_is_an_error() -> None:
    for missing in ("123", "", "0b0c24d1-c6f1-4a62-9a31-a0fd6a6dd9ea"):
        with pytest.raises(api.TaskResultDoesNotExist):
            backend().get_result(missing)
        with pytest.raises(api.TaskResultDoesNotExist):
            async_to_sync(backend().aget_result)(missing)


def test_the_result_of_another_task_is_an_error() -> None:
    result = tasks.noop_async.enqueue()
    with pytest.raises(api.TaskResultMismatch, match="Task does not match"):
        tasks.noop.get_result(result.id)


@override_settings(TASKS=WITHOUT_RESULTS)
def test_without_results_none_can_be_found() -> None:
    result = tasks.noop.enqueue()
    assert not backend().supports_get_result
    assert not TaskRun.objects.exists()
    with pytest.raises(NotImplementedError):
        backend().get_result(result.id)
    with pytest.raises(NotImplementedError):
        result.refresh()


# --- running ---


@contextmanager
def running(server: ServerProcess, *queues: str) -> Iterator[Worker]:
    """A relay, and a worker in a thread, as `manage.py duebus_worker --relay` has them."""
    worker, ready = make_worker(queues or None, concurrency=4, max_execution=30), threading.Event()

    async def serve() -> None:
        async with aio.Client(server.address) as client:
            serving = asyncio.create_task(worker.serve(client))
            await worker.ready()
            ready.set()
            await serving

    with Client(server.address) as client, ThreadPoolExecutor(1) as pool, relay(client, poll=0.05).running():
        run = pool.submit(asyncio.run, serve())
        assert ready.wait(SIGNAL_TIMEOUT_S)
        yield worker
        worker.request_stop()
        run.result(SIGNAL_TIMEOUT_S)


def finished(result: Any) -> Any:
    """Refresh a result until it is finished. It polls: Django has no way to wait for a task."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while not result.is_finished:
        assert time.monotonic() < deadline
        time.sleep(0.02)
        result.refresh()
    return result


def is_settled(bus: Client, topic: str = "tasks.default") -> bool:
    """Wait until nothing is queued, and say so. It polls: a server does not announce that."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while bus.admin.get_topic(topic).queued:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return True


def dead_letters(bus: Client) -> list[Any]:
    """Wait until there are some, and list them. It polls: a server does not announce them."""
    deadline = time.monotonic() + SIGNAL_TIMEOUT_S
    while not (dead := list(bus.admin.list_events("tasks.default", "dead", group="django"))):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return dead


@pytest.mark.parametrize("task", [tasks.meaning_of_life, tasks.meaning_of_life_async])
def test_a_task_is_run(server: ServerProcess, task: Any) -> None:
    result = task.enqueue()
    with running(server):
        assert result.status == Status.READY
        finished(result)
    assert (result.status, result.return_value, result.attempts) == (Status.SUCCESSFUL, 42, 1)
    assert result.enqueued_at <= result.started_at == result.last_attempted_at <= result.finished_at
    assert len(result.worker_ids) == 1
    assert result.errors == []


def test_results_are_kept_on_every_database(database: str, server: ServerProcess) -> None:
    succeeds, fails = tasks.add.enqueue(1, second=2), tasks.fail_with_value_error.enqueue()
    with running(server):
        assert finished(succeeds).return_value == 3
        assert finished(fails).errors[0].exception_class is ValueError
    assert backend().get_result(succeeds.id) == succeeds
    with pytest.raises(api.TaskResultDoesNotExist):
        backend().get_result(succeeds.id.upper())


def test_a_task_gets_its_arguments(server: ServerProcess) -> None:
    result = tasks.add.enqueue(1, second=2)
    with running(server):
        assert finished(result).return_value == 3


def test_a_task_gets_its_context(server: ServerProcess) -> None:
    result = tasks.own_id.enqueue()
    with running(server):
        assert finished(result).return_value == result.id


@pytest.mark.parametrize(
    ("task", "error", "last_line"),
    [
        (tasks.fail_with_value_error, ValueError, "ValueError: This Task failed due to ValueError"),
        (tasks.fail_with_system_exit, SystemExit, "SystemExit: This Task failed due to SystemExit"),
        (tasks.fail_with_complex_error, ValueError, "ValueError: This task failed"),
        (tasks.return_what_json_does_not_know, TypeError, "Unsupported type"),
        (tasks.give_up, DeadLetter, "duebus.worker.decisions.DeadLetter: useless"),
    ],
)
def test_a_task_that_raises_has_failed_and_is_a_dead_letter(
    server: ServerProcess, bus: Client, task: Any, error: type[BaseException], last_line: str
) -> None:
    result = task.enqueue()
    with running(server):
        finished(result)
    assert result.status == Status.FAILED
    with pytest.raises(ValueError, match="Task failed"):
        result.return_value  # noqa: B018 - a property
    (found,) = result.errors
    assert found.exception_class is error
    assert last_line in found.traceback.splitlines()[-1]
    assert result.finished_at >= result.started_at
    (dead,) = dead_letters(bus)
    assert dead.event_id == result.id


def test_a_task_that_failed_is_run_again_when_it_is_redriven(server: ServerProcess, bus: Client) -> None:
    result = tasks.fail_once.enqueue()
    with running(server):
        assert finished(result).status == Status.FAILED
        (dead,) = dead_letters(bus)
        bus.admin.redrive("tasks.default", group="django", event_ids=[dead.event_id])
        assert is_settled(bus)
    result.refresh()
    assert (result.status, result.attempts, len(result.errors)) == (Status.SUCCESSFUL, 2, 1)


def test_a_task_is_run_again_as_often_as_the_backend_says(server: ServerProcess) -> None:
    with with_options(max_retries=2):
        succeeds, fails = tasks.succeed_at_attempt.enqueue(3), tasks.succeed_at_attempt.enqueue(4)
        with running(server):
            finished(succeeds)
            finished(fails)
    assert (succeeds.status, succeeds.return_value, succeeds.attempts) == (Status.SUCCESSFUL, 3, 3)
    assert (fails.status, fails.attempts) == (Status.FAILED, 3)
    assert [each.exception_class for each in succeeds.errors] == [RetryAfter] * 2
    assert len(fails.errors) == 3


def test_a_release_is_no_failure(server: ServerProcess) -> None:
    result = tasks.release_once.enqueue()
    with running(server):
        finished(result)
    assert (result.status, result.errors) == (Status.SUCCESSFUL, [])


def test_a_task_that_has_run_is_not_run_again(server: ServerProcess, bus: Client) -> None:
    result = tasks.fail_with_value_error.enqueue()
    TaskRun.objects.update(status=Status.SUCCESSFUL, return_value=1)
    with running(server):
        relay(bus).send()
        assert is_settled(bus)
    result.refresh()
    assert (result.return_value, result.attempts) == (1, 0)


def attempt_at(result: Any, attempt: int) -> Delivery:
    """A delivery of a task's event."""
    names = {"task": result.task.module_path, "backend": "default", "args": [], "kwargs": {}}
    return delivery(result.id, data=json.dumps(names).encode(), attempt=attempt)


def test_a_late_attempt_does_not_change_the_result_of_a_later_one() -> None:
    result = tasks.fail_after_what_happens_meanwhile.enqueue()
    tasks.meanwhile.append(lambda: run_task(attempt_at(result, 2), "later"))
    with pytest.raises(ValueError, match="late"):
        run_task(attempt_at(result, 1), "suspended")
    result.refresh()
    assert (result.status, result.worker_ids, result.errors) == (Status.SUCCESSFUL, ["suspended", "later"], [])


def test_a_database_that_is_down_uses_up_no_attempt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    result = tasks.noop.enqueue()
    with monkeypatch.context() as outage:
        connections["default"].close()
        outage.setitem(connections["default"].settings_dict, "NAME", tmp_path / "missing" / "project.db")
        with pytest.raises(RateLimited, match="the database can't be reached"):
            run_task(attempt_at(result, 1), "worker")
    result.refresh()
    assert result.status == Status.READY


class ReadsFromReplica:
    """A router of a project whose replica is behind: here it is empty."""

    def db_for_read(self, *_: Any, **__: Any) -> str:
        return "replica"

    def db_for_write(self, *_: Any, **__: Any) -> str:
        return "default"


def test_results_are_read_where_they_are_written(monkeypatch: pytest.MonkeyPatch) -> None:
    replica = connections.configure_settings({"default": {"ENGINE": "django.db.backends.sqlite3"}})["default"]
    monkeypatch.setitem(connections.settings, "replica", replica)
    with override_settings(DATABASE_ROUTERS=[ReadsFromReplica()]):
        result = tasks.noop.enqueue()
        run_task(attempt_at(result, 1), "worker")
        result.refresh()
    assert result.status == Status.SUCCESSFUL


def test_without_results_tasks_are_run_and_know_their_attempt(server: ServerProcess, bus: Client) -> None:
    ended: list[Any] = []

    def note(task_result: Any, **_: Any) -> None:
        ended.append(task_result)

    api.signals.task_finished.connect(note)
    try:
        with with_options(max_retries=2, results=False):
            tasks.succeed_at_attempt.enqueue(3)
            while relay(bus).send():
                pass
            with running(server):
                assert is_settled(bus)
    finally:
        api.signals.task_finished.disconnect(note)
    (result,) = ended
    assert (result.return_value, result.attempts) == (3, 3)


def test_a_worker_runs_the_queues_that_it_is_given(server: ServerProcess, bus: Client) -> None:
    other, own = tasks.noop.enqueue(), tasks.noop.using(queue_name="mail").enqueue()
    with running(server, "mail"):
        finished(own)
    other.refresh()
    assert other.status == Status.READY
    with running(server):
        finished(other)


def test_signals_tell_what_happens(server: ServerProcess) -> None:
    seen: list[str] = []

    def listener(name: str) -> Any:
        return lambda task_result, **_: seen.append(f"{name} {task_result.status}")

    named = {"enqueued": api.signals.task_enqueued, "started": api.signals.task_started}
    named["finished"] = api.signals.task_finished
    listeners = {name: listener(name) for name in named}
    for name, each in named.items():
        each.connect(listeners[name])
    try:
        with transaction.atomic():
            result = tasks.noop.enqueue()
            assert seen == []
        with running(server):
            finished(result)
    finally:
        for name, each in named.items():
            each.disconnect(listeners[name])
    assert seen == [f"enqueued {Status.READY}", f"started {Status.RUNNING}", f"finished {Status.SUCCESSFUL}"]


@pytest.mark.parametrize(
    "payload",
    [
        {"task": "django_integration.tasks.no_task", "backend": "default", "args": [], "kwargs": {}},
        {"task": "subprocess.run", "backend": "default", "args": [["true"]], "kwargs": {}},
        {"task": "missing.task", "backend": "default", "args": [], "kwargs": {}},
        {"task": "django_integration.tasks.noop", "backend": "missing", "args": [], "kwargs": {}},
        "nonsense",
    ],
)
def test_an_event_that_names_no_task_is_a_dead_letter(server: ServerProcess, bus: Client, payload: Any) -> None:
    with running(server):
        bus.dispatch("tasks.default", payload, id="wrong")
        (dead,) = dead_letters(bus)
    (copy,) = bus.admin.get_event("tasks.default", dead.event_id).groups
    assert copy.last_error.startswith("the event names no task: ")


def test_a_task_that_is_gone_has_failed(server: ServerProcess, bus: Client) -> None:
    result = tasks.noop.enqueue()
    OutboxRow.objects.all().delete()
    gone = {"task": "django_integration.tasks.gone", "backend": "default", "args": [], "kwargs": {}}
    bus.dispatch("tasks.default", gone, id=result.id)
    with running(server):
        finished(result)
    assert result.status == Status.FAILED
    assert result.errors[0].exception_class is ImportError


def test_a_project_without_such_a_backend_has_nothing_to_run() -> None:
    dummy = f"{api.BaseTaskBackend.__module__.rpartition('.')[0]}.dummy.DummyBackend"
    with override_settings(TASKS={"default": {"BACKEND": dummy}}), pytest.raises(CommandError, match="no backend"):
        call_command("duebus_worker")
