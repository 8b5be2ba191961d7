"""What a backend of tasks needs: from `django.tasks` since Django 6.0, before that from the package django-tasks.

Both are the same but for two names.
"""

try:
    from django.tasks import base, exceptions, signals, task, task_backends
    from django.tasks.backends.base import BaseTaskBackend
    from django.utils.json import normalize_json

    InvalidTask = exceptions.InvalidTask
except ModuleNotFoundError:
    try:
        from django_tasks import base, exceptions, signals, task, task_backends
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "tasks are part of Django since 6.0, and before that of another package: pip install django-tasks",
            name=error.name,
        ) from None
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.utils import normalize_json

    InvalidTask = exceptions.InvalidTaskError

__all__ = [
    "BaseTaskBackend",
    "InvalidTask",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultMismatch",
    "TaskResultStatus",
    "normalize_json",
    "signals",
    "task",
    "task_backends",
]

Task, TaskContext, TaskError, TaskResult = base.Task, base.TaskContext, base.TaskError, base.TaskResult
TaskResultStatus = base.TaskResultStatus
TaskResultDoesNotExist, TaskResultMismatch = exceptions.TaskResultDoesNotExist, exceptions.TaskResultMismatch
