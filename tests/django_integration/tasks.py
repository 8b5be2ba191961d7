"""Tasks of the test project."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus.integrations.django import _task_api as api
from duebus.worker import DeadLetter, Release, RetryAfter

if TYPE_CHECKING:
    from collections.abc import Callable

task: Any = api.task
released: list[str] = []
failed: list[str] = []
meanwhile: list[Callable[[], object]] = []


@task
def noop(*args: Any, **kwargs: Any) -> None: ...


@task
async def noop_async(*args: Any, **kwargs: Any) -> None: ...


@task
def meaning_of_life() -> int:
    return 42


@task
async def meaning_of_life_async() -> int:
    return 42


@task
def add(first: int, *, second: int) -> int:
    return first + second


@task
def fail_with_value_error() -> None:
    raise ValueError("This Task failed due to ValueError")


@task
def fail_with_system_exit() -> None:
    raise SystemExit("This Task failed due to SystemExit")


@task
def fail_with_complex_error() -> None:
    raise ValueError(ValueError("This task failed"))


@task
def return_what_json_does_not_know() -> object:
    return object()


@task
def give_up() -> None:
    raise DeadLetter("useless")


@task(takes_context=True)
def succeed_at_attempt(context: Any, attempt: int) -> int:
    if context.attempt < attempt:
        raise RetryAfter(0.01)
    return int(context.attempt)


@task(takes_context=True)
def release_once(context: Any) -> None:
    if context.task_result.id not in released:
        released.append(context.task_result.id)
        raise Release


@task(takes_context=True)
def fail_once(context: Any) -> None:
    if context.task_result.id not in failed:
        failed.append(context.task_result.id)
        raise ValueError("repaired since")


@task
def fail_after_what_happens_meanwhile() -> None:
    if meanwhile:
        meanwhile.pop()()
        raise ValueError("late")


@task(takes_context=True)
def own_id(context: Any) -> str:
    return str(context.task_result.id)


def no_task() -> None:
    """Is no task."""
