"""Durations and sizes as people write them: in flags, environment variables, files, and on the command line."""

from __future__ import annotations

import re

from duebus_server.domain.clock import DAY, HOUR, MILLISECOND, MINUTE, SECOND

DURATION = r"([0-9]{1,15}(\.[0-9]{1,6})?\s*(us|ms|s|m|h|d)\s*)+"
"""A regular expression for a whole duration. The chart's schema has it too."""

SIZE = r"[0-9]{1,15}\s*(B|KiB|MiB|GiB)?"
"""A regular expression for a whole size. The chart's schema has it too."""

_UNITS_US = {"us": 1, "ms": MILLISECOND, "s": SECOND, "m": MINUTE, "h": HOUR, "d": DAY}
_UNITS_BYTES = {"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30}
_PART = re.compile(r"([0-9.]+)\s*([A-Za-z]*)")


def parse_duration(text: object) -> int:
    """``500ms``, ``30s``, ``5m``, ``1h30m``, ``1d`` as microseconds.

    Raises:
        ValueError: it is not of that form.
    """
    if not isinstance(text, str) or not re.fullmatch(DURATION, text.strip()):
        raise ValueError(f"{text!r} is not a duration such as 500ms, 30s or 5m")
    return sum(round(float(number) * _UNITS_US[unit]) for number, unit in _PART.findall(text))


def format_duration(duration_us: int) -> str:
    """Microseconds in the largest unit that leaves a whole number."""
    if not duration_us:
        return "0s"
    unit = next(name for name, size in reversed(_UNITS_US.items()) if duration_us % size == 0)
    return f"{duration_us // _UNITS_US[unit]}{unit}"


def parse_size(text: object) -> int:
    """``16MiB``, ``512KiB``, or a number of bytes, as bytes.

    Raises:
        ValueError: it is not of that form.
    """
    if not isinstance(text, str) or not re.fullmatch(SIZE, text.strip()):
        raise ValueError(f"{text!r} is not a size such as 512KiB or 16MiB")
    ((number, unit),) = _PART.findall(text)
    return int(number) * _UNITS_BYTES[unit or "B"]


def format_size(size: int) -> str:
    """Bytes in the largest unit that leaves a whole number."""
    if not size:
        return "0B"
    unit = next(name for name, bytes_ in reversed(_UNITS_BYTES.items()) if size % bytes_ == 0)
    return f"{size // _UNITS_BYTES[unit]}{unit}"
