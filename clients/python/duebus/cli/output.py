"""Writes standard output: tables for people, plain columns for pipes, JSON for programs."""

from __future__ import annotations

import base64
import json
import os
import sys
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from duebus.cli.failures import PipeClosedError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.text import Text

    from duebus._core.admin_model import EventInfo
    from duebus.cli.terminal import TerminalConsole

_GAP = "  "
# The minimum width of a column on a narrow terminal, in characters.
_CUT_AT_LEAST = 20
_FOLDED_AT_LEAST = 30
# How the traceback begins that a worker adds to a handler's error.
_CALL = '\n  File "'


class Output:
    """Standard output. Every method flushes, so that the reader of a pipe sees its output at once.

    Attributes:
        as_json: Whether JSON was requested; the methods for people then print nothing.
    """

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json

    @cached_property
    def console(self) -> TerminalConsole:
        """Standard output as a Rich console."""
        from duebus.cli.terminal import TerminalConsole  # noqa: PLC0415  # Rich, which a line or JSON does not need

        return TerminalConsole()

    def record(self, record: dict[str, Any]) -> None:
        """Prints a JSON object on its own line, if JSON was requested."""
        if self.as_json:
            self._write(json.dumps(record, ensure_ascii=False, separators=(", ", ": ")))

    def line(self, *parts: str | Text) -> None:
        """Prints a line for people; on a terminal, a Text keeps its style."""
        if self.as_json:
            return
        if any(not isinstance(part, str) for part in parts) and self.console.is_terminal:
            self.console.print(*parts, sep="", soft_wrap=True)
        else:
            self._write("".join(str(part) for part in parts))

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, cut: str = "", folded: Sequence[str] = ()
    ) -> None:
        """Prints a table for people; in a pipe, aligned columns.

        Args:
            columns: The headings.
            rows: The cells.
            cut: The column whose cells are truncated if the line is too narrow, so that each row stays one line. In a
                pipe the width is that of the terminal at its other end, or 80.
            folded: The columns that wrap on a terminal that is too narrow. The others stay whole, so that ids can be
                copied.
        """
        if self.as_json:
            return
        from duebus.cli.terminal import rich_table  # noqa: PLC0415  # as above

        rows = _cut(columns, rows, cut, folded, self.console.width)
        if self.console.is_terminal:
            # If a line is still too long after folding, the terminal wraps it.
            self.console.print(rich_table(columns, rows, folded), crop=False)
        else:
            self._write("\n".join(_plain_lines([columns, *rows])))

    @staticmethod
    def _write(text: str) -> None:
        try:
            sys.stdout.write(text + "\n")
            sys.stdout.flush()
        except BrokenPipeError:
            raise PipeClosedError from None


def _plain_lines(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = _column_widths(rows)
    return [_GAP.join(map(str.ljust, row, widths)).rstrip() for row in rows]


def _cut(
    columns: Sequence[str], rows: Sequence[Sequence[str]], cut: str, folded: Sequence[str], width: int
) -> Sequence[Sequence[str]]:
    """The rows, with the cells of the column `cut` truncated to the width that the others leave."""
    if cut not in columns:
        return rows
    position = columns.index(cut)
    widths = _column_widths([columns, *rows])
    others = [
        min(each, _FOLDED_AT_LEAST) if column in folded else each
        for column, each in zip(columns, widths, strict=True)
        if column != cut
    ]
    most = max(width - sum(others) - len(_GAP) * len(others), _CUT_AT_LEAST)
    return [[*row[:position], _shortened(row[position], most), *row[position + 1 :]] for row in rows]


def _column_widths(rows: Sequence[Sequence[str]]) -> list[int]:
    """In characters."""
    return [max(map(len, column)) for column in zip(*rows, strict=True)]


def _shortened(cell: str, most: int) -> str:
    return cell if len(cell) <= most else f"{cell[: most - 1]}…"


def clean(text: str) -> str:
    """The text on one line, with unprintable characters escaped, so that it can't control a terminal."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)


def headline(error: str) -> str:
    """An event's error on one line, without its traceback."""
    return clean(error.partition(_CALL)[0])


def calls(error: str) -> list[str]:
    """The traceback of an event's error, as lines; empty if it has none."""
    _, call, rest = error.partition(_CALL)
    return [clean(line) for line in (call + rest).splitlines()[1:]]


def payload_text(data: bytes, content_type: str) -> str:
    """A payload for people, on one line."""
    try:
        return clean(data.decode())
    except UnicodeDecodeError:
        return f"<{len(data)} bytes of {clean(content_type) or 'unknown type'}>"


def event_text(event: EventInfo) -> str:
    """The payload of a listed event for people, on one line."""
    return "(withheld)" if event.data_withheld else payload_text(event.data, event.content_type)


def payload_json(data: bytes, content_type: str) -> dict[str, Any]:
    """A payload for programs: `data` if it is JSON or text, otherwise `data_base64`."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return {"data_base64": base64.b64encode(data).decode()}
    return {"data": _json_value(text) if "json" in content_type else text}


def _json_value(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=_refuse)
    except ValueError:
        return text


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


def silence() -> None:
    """Discards further output after a broken pipe, even at the interpreter's exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def note(text: str) -> None:
    """Prints a line for people on standard error."""
    print(clean(text), file=sys.stderr, flush=True)  # noqa: T201
