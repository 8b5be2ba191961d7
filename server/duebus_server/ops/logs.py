"""Structured logs on standard error, one line for each decision. They never contain payloads or tokens."""

from __future__ import annotations

import io
import logging
import os
import re
import sys
from typing import TYPE_CHECKING, Literal, cast

import structlog

if TYPE_CHECKING:
    from typing import TextIO

    from structlog.typing import EventDict, ExcInfo, Processor, WrappedLogger

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, begin a terminal command, or change the direction of text."""


def configure_logs(log_format: Literal["json", "console"]) -> None:
    """Write log lines of level info and above, as JSON or for people."""
    processors: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if log_format == "json":
        processors += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=_traceback)
        processors += [escape_control, renderer]
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )


class _StandardError:
    """Standard error while someone reads it. Afterwards log lines are dropped, and the server keeps running."""

    def write(self, text: str) -> None:
        try:
            sys.stderr.write(text)
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())

    def flush(self) -> None:
        """Do nothing: standard error flushes after each line."""


def escape_control(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters as Python strings do, so that callers' text can't control a terminal."""
    return {name: value if name == "exc_info" else _escaped(value) for name, value in event.items()}


def _escaped(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    if isinstance(value, list | tuple):
        return [_escaped(each) for each in value]
    return _escape(str(value))


def _escape(text: str) -> str:
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def _traceback(out: TextIO, exc_info: ExcInfo) -> None:
    """A plain traceback: the pretty ones print local variables, which may be payloads."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    out.write("\n".join(map(_escape, plain.getvalue().splitlines())))
