"""Durations, times and counts as people write and read them."""

from datetime import UTC, datetime, timedelta

from duebus_server.domain.units import parse_duration

_UNITS = {
    "ms": timedelta(milliseconds=1),
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
}


def parse_span(text: str) -> timedelta:
    """A duration such as `500ms`, `1.5s` or `1h30m`.

    Raises:
        ValueError: it is not one, or longer than any duration can be.
    """
    try:
        return timedelta(microseconds=parse_duration(text))
    except OverflowError:
        raise ValueError(f"{text!r} is longer than any duration can be") from None


def parse_moment(text: str) -> datetime:
    """A time in ISO 8601; local time if it has no offset.

    Raises:
        ValueError: it is not one.
    """
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise ValueError(f"{text!r} is not a time such as 2027-01-31T09:00:00+01:00") from None


def format_span(span: timedelta) -> str:
    """Short, to about three digits: `1.9ms`, `250ms`, `2.5s`, `3m 12s`, `2d 4h`."""
    if span < timedelta():
        return f"-{format_span(-span)}"
    if span < timedelta(milliseconds=100):
        return f"{_trimmed(span / _UNITS['ms'], 1)}ms"
    if span < _UNITS["s"]:
        return f"{round(span / _UNITS['ms'])}ms"
    if span < _UNITS["m"]:
        return f"{_trimmed(span.total_seconds(), 1)}s"
    return _in_two_units(round(span.total_seconds()))


def _trimmed(number: float, digits: int) -> str:
    return f"{number:.{digits}f}".rstrip("0").rstrip(".")


def _in_two_units(seconds: int) -> str:
    for large, small, large_unit, small_unit in ((86400, 3600, "d", "h"), (3600, 60, "h", "m"), (60, 1, "m", "s")):
        if seconds >= large:
            rest = seconds % large // small
            return f"{seconds // large}{large_unit}" + (f" {rest}{small_unit}" if rest else "")
    return f"{seconds}s"


def format_moment(moment: datetime) -> str:
    """A time for people: local, with its offset, to the millisecond."""
    return moment.astimezone().isoformat(sep=" ", timespec="milliseconds")


def format_moment_json(moment: datetime) -> str:
    """A time for programs: UTC, in full."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")


def format_ago(moment: datetime) -> str:
    """A time relative to now: `in 5m`, `3m 12s ago`."""
    ahead = moment - datetime.now(UTC)
    return f"in {format_span(ahead)}" if ahead.total_seconds() > 0 else f"{format_span(-ahead)} ago"


def format_count(count: int, noun: str) -> str:
    """`1 event`, `1,201 events`."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
