"""A progress bar on standard error, when that is a terminal."""

from collections.abc import Iterator, Sized
from contextlib import contextmanager

from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from duebus.cli.output import TerminalConsole


class LoadProgress:
    """How far a load has come: in bytes read when the size of the file is known, in events otherwise."""

    def __init__(self, bar: Progress, task: TaskID, *, in_bytes: bool) -> None:
        self._bar = bar
        self._task = task
        self._in_bytes = in_bytes
        self._events = 0

    def on_bytes(self, count: int) -> None:
        """So many more bytes were read."""
        if self._in_bytes:
            self._bar.advance(self._task, count)

    def on_stored(self, results: Sized) -> None:
        """So many more events went in."""
        self._events += len(results)
        self._bar.update(self._task, events=self._events, advance=0 if self._in_bytes else len(results))


@contextmanager
def load_progress(title: str, *, size: int | None = None, events: int | None = None) -> Iterator[LoadProgress]:
    """A bar up to `size` bytes or `events` events; without either it only counts. It is gone at the end."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.fields[events]:,} events"),
        TimeElapsedColumn(),
    )
    console = TerminalConsole(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(title, total=size or events, events=0)
        yield LoadProgress(bar, task, in_bytes=size is not None)
