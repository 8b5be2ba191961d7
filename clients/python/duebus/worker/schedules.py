"""The schedules that are declared beside a worker's handlers."""

import asyncio
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duebus._core.enums import Engine
from duebus.aio import Client
from duebus.errors import DeadlineExceeded, InvalidArgument, PermissionDenied, Unavailable

__all__ = ["Declaration", "declare", "module_of"]

# How many seconds pass before a server that can't be reached is tried again.
_RETRY_AFTER = 1.0

_log = logging.getLogger("duebus.worker")


@dataclass(frozen=True, slots=True)
class Declaration:
    """A schedule that a worker puts when it starts.

    Attributes:
        name: The schedule's name.
        topic: Where its events go.
        data: Their payload.
        note: The schedule's note. By default it says where it is declared, so that one that is no longer declared there
            is found.
        options: The other arguments of `ScheduleClient.put`.
    """

    name: str
    topic: str
    data: Any
    note: str
    options: Mapping[str, Any]


def module_of(handler: Callable[..., object]) -> str:
    """The module of a handler, under the name by which others import it."""
    module = str(getattr(handler, "__module__", None) or type(handler).__module__)
    if module != "__main__":
        return module
    main = sys.modules["__main__"]
    if main.__spec__ is not None:  # python -m
        return main.__spec__.name.removesuffix(".__main__")
    return Path(getattr(main, "__file__", None) or "main").stem


async def declare(client: Client, declarations: Sequence[Declaration], engine: Engine | str | None) -> None:
    """Puts the schedules, and reports those that are no longer declared. Waits for a server that can't be reached.

    Raises:
        DueBusError: an error that no retry can cure.
    """
    while True:
        try:
            for each in declarations:
                await _put(client, each, engine)
            await _report(client, declarations, engine)
        except (Unavailable, DeadlineExceeded) as error:
            _log.warning("the schedules are not stored yet: %s", error)
            await asyncio.sleep(_RETRY_AFTER)
        else:
            return


async def _put(client: Client, each: Declaration, engine: Engine | str | None) -> None:
    """Puts a schedule. One that has ended must not end the worker, which may be started again long after."""
    try:
        await client.schedules.put(each.name, each.topic, each.data, note=each.note, engine=engine, **each.options)
    except InvalidArgument as error:
        if "schedule.end" not in [violation.field for violation in error.field_violations]:
            raise
        _log.warning("the schedule %s has ended and is not stored: %s", each.name, error)


async def _report(client: Client, declarations: Sequence[Declaration], engine: Engine | str | None) -> None:
    """Logs the stored schedules that were declared in the same modules, and are no longer."""
    names, notes = {each.name for each in declarations}, {each.note for each in declarations}
    try:
        async for info in client.schedules.list(engine=engine):
            if info.schedule.note in notes and info.schedule.name not in names:
                _log.warning(
                    "the schedule %s was %s and is no longer; it still fires: delete or pause it",
                    info.schedule.name,
                    info.schedule.note,
                )
    except PermissionDenied:
        _log.debug("the worker may not list schedules, so those that are no longer declared are not reported")
