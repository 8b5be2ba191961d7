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

log = structlog.get_logger()

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Characters that move a terminal's cursor, begin a terminal command, or change the direction of text."""


Level = Literal["debug", "info", "warning", "error"]


def configure_logs(log_format: Literal["json", "console"], level: Level = "info") -> None:
    """Write log lines of a level and above, as JSON or for people. What libraries such as OpenTelemetry report with
    Python's ``logging`` becomes lines of the same format.
    """
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
        wrapper_class=_Logger,
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", _StandardError())),
        cache_logger_on_first_use=True,
    )
    set_level(level)
    logging.basicConfig(handlers=[_OfLibraries()], level=logging.WARNING, force=True)


class _Logger(structlog.make_filtering_bound_logger(logging.DEBUG)):  # type: ignore[misc]  # made by a function
    """The class of every logger. ``set_level`` replaces its methods, which also changes loggers that exist already."""


def set_level(level: Level) -> None:
    """Write log lines of this level and above from now on."""
    made = structlog.make_filtering_bound_logger(getattr(logging, level.upper()))
    for name in ("debug", "info", "warning", "error", "exception", "critical"):
        setattr(_Logger, name, getattr(made, name))


class LevelSwitch:
    """Switches between the level of the settings and debug.

    Args:
        level: that of the settings.
    """

    def __init__(self, level: Level) -> None:
        self._level = level
        self._is_debug = level == "debug"

    def switch(self) -> None:
        """Write debug lines too, or no longer."""
        self._is_debug = not self._is_debug
        set_level("debug" if self._is_debug else self._level)
        log.warning("log level changed", level="debug" if self._is_debug else self._level)


class _OfLibraries(logging.Handler):
    """Passes on the log records of libraries."""

    def emit(self, record: logging.LogRecord) -> None:
        write = log.error if record.levelno >= logging.ERROR else log.warning
        write(record.getMessage(), logger=record.name, **({"exc_info": record.exc_info} if record.exc_info else {}))


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
