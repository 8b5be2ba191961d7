"""A backend for Django's tasks (https://docs.djangoproject.com/en/6.0/topics/tasks/).

TASKS = {"default": {"BACKEND": "duebus.integrations.django.DueBusBackend", "OPTIONS": {"results": True}}}

A task is an event of a topic that its queue has, and goes through the outbox: it is enqueued when the transaction is
committed. `manage.py duebus_worker` runs tasks.

READY --started--> RUNNING --returns--> SUCCESSFUL
  ^                   |
  +--raises, retries--+--raises, no retries left--> FAILED --redriven--> RUNNING
"""

import logging
import os
import socket
import traceback
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.core.checks import CheckMessage, Error
from django.db import close_old_connections, router, transaction
from django.utils import timezone
from django.utils.module_loading import import_string

from duebus._core.delivery import Delivery
from duebus.integrations.django import _task_api as api
from duebus.integrations.django.inbox import OUTAGES
from duebus.integrations.django.models import TaskRun
from duebus.integrations.django.outbox import dispatch
from duebus.integrations.inbox import Beginning
from duebus.integrations.outbox import TOPIC
from duebus.worker import DeadLetter, RateLimited, Release, Worker

__all__ = ["DueBusBackend", "make_worker"]

GROUP = "django"
"""The group of the workers that run tasks."""

_log = logging.getLogger("duebus.tasks")

_SECONDS_PER_PRIORITY = 864
"""Django's priorities are from -100 to 100, those of events from -86,400 to 86,400 seconds."""

_beginning = Beginning(*OUTAGES)


class DueBusBackend(api.BaseTaskBackend):
    """Enqueues tasks through the outbox.

    Options:
        topic: The topic of a queue is called TOPIC.QUEUE; by default `tasks`.
        max_retries: How many times a task that raises is run again, after a backoff; by default 0.
        results: Whether states and results are kept in the database, so that `get_result` finds them; by default False.
    """

    supports_defer = True
    supports_async_task = True
    supports_priority = True

    def __init__(self, alias: str, params: Mapping[str, Any]) -> None:
        super().__init__(alias, params)
        options = params.get("OPTIONS", {})
        self.topic: str = options.get("topic", "tasks")
        self.max_retries: int = options.get("max_retries", 0)
        self.supports_get_result = bool(options.get("results", False))

    def topic_of(self, queue_name: str) -> str:
        """The topic of a queue."""
        return f"{self.topic}.{queue_name}"

    def check(self, **kwargs: Any) -> Sequence[CheckMessage]:
        """Report queues whose name can't be part of a topic."""
        wrong = sorted(queue for queue in self.queues if not TOPIC.fullmatch(self.topic_of(queue)))
        return [
            *super().check(**kwargs),
            *(Error(f"the queue {each!r} of TASKS[{self.alias!r}] must match {TOPIC.pattern}") for each in wrong),
        ]

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """Enqueue a task when the current transaction is committed; without one, at once.

        Raises:
            InvalidTask: the task does not fit the backend.
            TypeError: an argument is not of JSON.
        """
        self.validate_task(task)
        result = api.TaskResult(
            task=task,
            id=str(uuid.uuid4()),
            status=api.TaskResultStatus.READY,
            enqueued_at=timezone.now(),
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        payload = {"task": task.module_path, "backend": self.alias, "args": result.args, "kwargs": result.kwargs}
        using = router.db_for_write(TaskRun)
        with transaction.atomic(using=using):
            if self.supports_get_result:
                _save_new(result, using)
            dispatch(
                self.topic_of(task.queue_name),
                payload,
                using=using,
                id=result.id,
                at=_aware(task.run_after),
                priority=task.priority * _SECONDS_PER_PRIORITY,
                max_retries=self.max_retries,
            )
        transaction.on_commit(partial(api.signals.task_enqueued.send, type(self), task_result=result), using=using)
        return result

    def get_result(self, result_id: str) -> Any:
        """The state of a task.

        Raises:
            TaskResultDoesNotExist: there is no such task, or it was pruned.
            NotImplementedError: results are not kept.
        """
        if not self.supports_get_result:
            return super().get_result(result_id)
        run = _runs().filter(id=result_id, backend=self.alias).first()
        if run is None:
            raise api.TaskResultDoesNotExist(result_id)
        return _result_of(run)


def make_worker(queues: Iterable[str] | None, concurrency: int, max_execution: float) -> Worker:
    """A worker that runs tasks.

    Args:
        queues: Of these queues; None: of all.
        concurrency: How many at once of each queue.
        max_execution: How many seconds one may run.

    Raises:
        LookupError: there are no queues.
        InvalidArgument: an argument is out of range.
    """
    backends = [each for each in api.task_backends.all() if isinstance(each, DueBusBackend)]
    topics = {backend.topic_of(queue) for backend in backends for queue in queues or backend.queues}
    if not topics:
        raise LookupError("no backend in TASKS is duebus.integrations.django.DueBusBackend, or it has no QUEUES")
    name = f"{socket.gethostname()}-{os.getpid()}"
    worker = Worker(group=GROUP, consumer=name, concurrency=concurrency, prefetch=0, max_execution=max_execution)
    for topic in topics:
        worker.add(topic, partial(run_task, worker_id=name))
    return worker


def run_task(delivery: Delivery, worker_id: str) -> None:
    """Run the task that an event names, in a worker. What it raises, this raises too.

    Raises:
        DeadLetter: the event names no task.
        RateLimited: the database can't be reached, so the task has not begun.
    """
    close_old_connections()
    try:
        _Attempt(delivery, worker_id).run()
    finally:
        close_old_connections()


class _Attempt:
    """One attempt at a task."""

    def __init__(self, delivery: Delivery, worker_id: str) -> None:
        self._delivery = delivery
        self._worker_id = worker_id
        try:
            self._payload = delivery.json()
            self._task = _task(self._payload["task"], self._payload["backend"])
            self._backend = api.task_backends[self._task.backend]
        except Exception as error:
            failed = {"status": api.TaskResultStatus.FAILED, "errors": [_plain(_error_of(error))]}
            _runs().filter(id=delivery.event_id).update(**failed, finished_at=timezone.now())
            raise DeadLetter(f"the event names no task: {error}") from error
        with _beginning.reading():
            self._kept = _runs().filter(id=delivery.event_id).first() if self._backend.supports_get_result else None

    def run(self) -> None:
        result = _result_of(self._kept) if self._kept is not None else self._new_result()
        if result.status == api.TaskResultStatus.SUCCESSFUL:  # its ack was lost
            _log.info("task %s was run before", result.id)
            return
        now = timezone.now()
        started = result.started_at or now
        result.worker_ids.append(self._worker_id)
        running = {"status": api.TaskResultStatus.RUNNING, "started_at": started, "last_attempted_at": now}
        self._change(result, **running, finished_at=None)
        api.signals.task_started.send(type(self._backend), task_result=result)
        context = (api.TaskContext(task_result=result),) if result.task.takes_context else ()
        try:
            value = api.normalize_json(result.task.call(*context, *result.args, **result.kwargs))
        except BaseException as error:
            self._failed(result, error)
            raise
        self._change(result, status=api.TaskResultStatus.SUCCESSFUL, finished_at=timezone.now(), _return_value=value)
        api.signals.task_finished.send(type(self._backend), task_result=result)

    def _failed(self, result: Any, error: BaseException) -> None:
        if isinstance(error, Release | RateLimited | KeyboardInterrupt):  # it is run again, whatever it was
            self._change(result, status=api.TaskResultStatus.READY)
            return
        result.errors.append(_error_of(error))
        if isinstance(error, DeadLetter) or self._delivery.attempt > (self._delivery.max_retries or 0):
            self._change(result, status=api.TaskResultStatus.FAILED, finished_at=timezone.now())
            api.signals.task_finished.send(type(self._backend), task_result=result)
        else:
            self._change(result, status=api.TaskResultStatus.READY)

    def _new_result(self) -> Any:
        """The result if none is kept: of earlier attempts, only their number is known."""
        return api.TaskResult(
            task=self._task,
            id=self._delivery.event_id,
            status=api.TaskResultStatus.READY,
            enqueued_at=self._delivery.dispatched_at,
            started_at=None,
            finished_at=None,
            last_attempted_at=None,
            args=self._payload["args"],
            kwargs=self._payload["kwargs"],
            backend=self._backend.alias,
            errors=[],
            worker_ids=[""] * (self._delivery.attempt - 1),
        )

    def _change(self, result: Any, **changes: Any) -> None:
        """Change a result, in the database too if it is kept there and no later attempt has begun."""
        began = result.last_attempted_at
        for name, value in changes.items():
            object.__setattr__(result, name, value)
        if self._kept is not None:
            _runs().filter(id=result.id, last_attempted_at=began).update(**_columns(result))


def _runs() -> Any:
    """The runs in the database to which they are written, because a replica may be behind."""
    return TaskRun.objects.using(router.db_for_write(TaskRun))


def _save_new(result: Any, using: str) -> None:
    TaskRun.objects.using(using).create(
        id=result.id,
        backend=result.backend,
        task=result.task.module_path,
        queue_name=result.task.queue_name,
        priority=result.task.priority,
        run_after=result.task.run_after,
        arguments={"args": result.args, "kwargs": result.kwargs},
        enqueued_at=result.enqueued_at,
        **_columns(result),
    )


def _columns(result: Any) -> dict[str, Any]:
    """What changes while a task is run."""
    return {
        "status": result.status,
        "started_at": result.started_at,
        "finished_at": result.finished_at,
        "last_attempted_at": result.last_attempted_at,
        "return_value": result._return_value,  # noqa: SLF001 - as Django's own backends do
        "errors": [_plain(each) for each in result.errors],
        "worker_ids": result.worker_ids,
    }


def _error_of(error: BaseException) -> Any:
    kind = type(error)
    text = "".join(traceback.format_exception(error))
    return api.TaskError(exception_class_path=f"{kind.__module__}.{kind.__qualname__}", traceback=text)


def _plain(error: Any) -> dict[str, str]:
    """An error of a task, as it is kept."""
    return {"class": error.exception_class_path, "traceback": error.traceback}


def _result_of(run: TaskRun) -> Any:
    task = _task(run.task, run.backend).using(
        queue_name=run.queue_name, priority=run.priority, run_after=run.run_after, backend=run.backend
    )
    result = api.TaskResult(
        task=task,
        id=run.id,
        status=api.TaskResultStatus(run.status),
        enqueued_at=run.enqueued_at,
        started_at=run.started_at,
        finished_at=run.finished_at,
        last_attempted_at=run.last_attempted_at,
        args=run.arguments["args"],
        kwargs=run.arguments["kwargs"],
        backend=run.backend,
        errors=[api.TaskError(exception_class_path=each["class"], traceback=each["traceback"]) for each in run.errors],
        worker_ids=list(run.worker_ids),
    )
    object.__setattr__(result, "_return_value", run.return_value)
    return result


def _task(path: str, backend: str) -> Any:
    """The task of that name.

    Raises:
        ImportError: there is none.
        TypeError: the name is that of something else.
    """
    found = import_string(path)
    if not isinstance(found, api.Task):
        raise TypeError(f"{path} is not a task")
    return found.using(backend=backend)


def _aware(moment: datetime | None) -> datetime | None:
    return timezone.make_aware(moment) if moment is not None and timezone.is_naive(moment) else moment
