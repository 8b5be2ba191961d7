"""Output on a terminal, with Rich."""

from collections.abc import Sequence
from typing import Any, NoReturn

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from duebus.cli.failures import PipeClosedError

__all__ = ["TerminalConsole", "rich_table"]


class TerminalConsole(Console):
    """A Rich console that leaves a closed pipe to the caller and interprets no markup in the data."""

    def __init__(self, *, stderr: bool = False) -> None:
        super().__init__(stderr=stderr, highlight=False, markup=False, emoji=False)

    def on_broken_pipe(self) -> NoReturn:
        """Raises; Rich would end the process with status 1."""
        raise PipeClosedError


def rich_table(columns: Sequence[str], rows: Sequence[Sequence[str]], folded: Sequence[str] = ()) -> Table:
    """A table for a terminal; see `Output.table`."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for index, column in enumerate(columns):
        whole = column not in folded
        table.add_column(
            column,
            overflow="fold",
            no_wrap=whole,
            # A truncated number would be wrong.
            min_width=max(len(row[index]) for row in (columns, *rows)) if whole else None,
            justify=_justify(rows, index),
        )
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def _justify(rows: Sequence[Sequence[str]], column: int) -> Any:
    return "right" if all(row[column].isdigit() for row in rows) else "left"
