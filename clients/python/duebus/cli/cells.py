"""Formats groups of topics as table cells."""

from collections.abc import Iterable, Iterator, Sequence

from duebus._core.admin_model import GroupInfo, Lateness, TopicInfo, TopicMinute
from duebus.cli.spans import format_moment, format_span

NO_GROUP = "(no group yet)"
FOLDED_COLUMNS = ("TOPIC", "GROUP")
RATE_COLUMNS = ("DISPATCHED/S", "DELIVERED/S", "ACKED/S", "NACKED/S", "LATE P50", "LATE P99")
MINUTE_COLUMNS = ("MINUTE", "DISPATCHED", "GROUP", "DELIVERED", "ACKED", "NACKED", "DEAD", "LATE P50", "LATE P99")


def with_names(topics: Iterable[TopicInfo]) -> Iterator[tuple[str, GroupInfo | None]]:
    """Each group with its topic's name; None for a topic without groups or events. Damaged topics are left out."""
    for each in topics:
        if not each.problem:
            for group in each.groups or (None,):
                yield each.topic, group


def problem_lines(topics: Iterable[TopicInfo]) -> list[str]:
    """A line for each topic that the server can't show."""
    return [f"{each.topic} can't be shown: {each.problem}" for each in topics if each.problem]


def group_name(group: GroupInfo) -> str:
    """The name of a group, or a placeholder for unclaimed events."""
    return group.group or NO_GROUP


def group_table(groups: Sequence[GroupInfo | None]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """The columns and rows of these groups; None is a topic without any. Blocked events are shown if there are any."""
    show_blocked = any(group is not None and group.blocked for group in groups)
    blocked = ("BLOCKED",) if show_blocked else ()
    columns = ("GROUP", "SCHEDULED", "READY", *blocked, "LEASED", "DEAD", "SUBSCRIBERS", "OLDEST READY")
    return columns, [_cells(group, show_blocked) for group in groups]


def _cells(group: GroupInfo | None, show_blocked: bool) -> tuple[str, ...]:
    if group is None:
        return (NO_GROUP, *["0"] * (5 + show_blocked), "")
    blocked = (group.blocked,) if show_blocked else ()
    counts = (group.scheduled, group.ready, *blocked, group.leased, group.dead, len(group.subscribers))
    return (
        group_name(group) + (" (ephemeral)" if group.ephemeral else "") + (" (paused)" if group.paused else ""),
        *map(str, counts),
        "" if group.oldest_ready_age is None else format_span(group.oldest_ready_age),
    )


def rate_cells(group: GroupInfo | None) -> tuple[str, ...]:
    """For RATE_COLUMNS."""
    if group is None:
        return ("",) * len(RATE_COLUMNS)
    rates = group.rates
    averages = (f"{rate:.1f}" for rate in (rates.dispatched, rates.delivered, rates.acked, rates.nacked))
    return (*averages, *_lateness_cells(group.lateness))


def minute_rows(minutes: Iterable[TopicMinute]) -> Iterator[tuple[str, ...]]:
    """For MINUTE_COLUMNS: a row for each group that did something in a minute, or one without a group."""
    for minute in minutes:
        of_minute = ("" if minute.start is None else format_moment(minute.start), str(minute.dispatched))
        for group in minute.groups:
            counts = (group.delivered, group.acked, group.nacked, group.dead)
            yield *of_minute, group.group or NO_GROUP, *map(str, counts), *_lateness_cells(group.lateness)
        if not minute.groups:
            yield *of_minute, *[""] * 7


def _lateness_cells(lateness: Lateness | None) -> tuple[str, str]:
    return ("", "") if lateness is None else (format_span(lateness.p50), format_span(lateness.p99))
