"""A progress bar on standard error, if that is a terminal."""

from __future__ import annotations

import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, TypeVar

from duebus.errors import DueBusError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sized

    from rich.progress import Progress, TaskID

_LOOKS_EVERY_S = 0.5
_SHOWN_EVERY = 1000

_T = TypeVar("_T")


class LoadProgress:
    """The progress of a load: in bytes read if the file's size is known, otherwise in events."""

    def __init__(self, bar: Progress, task: TaskID, *, in_bytes: bool) -> None:
        self._bar = bar
        self._task = task
        self._in_bytes = in_bytes
        self._events = 0

    def on_bytes(self, count: int) -> None:
        """Add bytes that were read."""
        if self._in_bytes:
            self._bar.advance(self._task, count)

    def on_stored(self, results: Sized) -> None:
        """Add events that were stored."""
        self._events += len(results)
        self._bar.update(self._task, events=self._events, advance=0 if self._in_bytes else len(results))


@contextmanager
def load_progress(title: str, *, size: int | None = None, events: int | None = None) -> Iterator[LoadProgress]:
    """A bar up to `size` bytes or `events` events; without either it only counts. It vanishes at the end."""
    with _bar() as bar:
        task = bar.add_task(title, total=size or events, events=0)
        yield LoadProgress(bar, task, in_bytes=size is not None)


def looked_at(title: str, items: Iterable[_T]) -> Iterator[_T]:
    """Yields the items, and shows how many have been examined."""
    with _bar() as bar:
        task = bar.add_task(title, total=None, events=0)
        for count, each in enumerate(items, 1):
            if count % _SHOWN_EVERY == 0:
                bar.update(task, events=count)
            yield each


@contextmanager
def moving(title: str, total: int | None, left: Callable[[], int]) -> Iterator[None]:
    """Shows how many events have left a state, while the server moves them in one call.

    Args:
        title: The action.
        total: How many events will leave; None if unknown.
        left: Returns how many are left in the state. Called now and then, also on another thread, if the bar is shown.
    """
    with _bar() as bar:
        if bar.disable:
            yield
            return
        task = bar.add_task(title, total=total, events=0)
        done = threading.Event()
        updating = threading.Thread(target=_update, args=(bar, task, left, left(), done), daemon=True)
        updating.start()
        try:
            yield
        finally:
            done.set()
            updating.join()


def _update(bar: Progress, task: TaskID, left: Callable[[], int], before: int, done: threading.Event) -> None:
    while not done.wait(_LOOKS_EVERY_S):
        with suppress(DueBusError):  # the call itself will report the error
            gone = max(0, before - left())
            bar.update(task, events=gone, completed=gone)


def _bar() -> Progress:
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn  # noqa: PLC0415  # slow to load

    from duebus.cli.terminal import TerminalConsole  # noqa: PLC0415  # as above

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
    )
    console = TerminalConsole(stderr=True)
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
