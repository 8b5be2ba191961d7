"""`duebus topics` and `duebus topic`."""

from collections.abc import Iterable, Iterator
from typing import Annotated

import typer

from duebus._core.admin_model import GroupInfo, RetryPolicy, TopicConfig
from duebus.cli import options
from duebus.cli.cells import (
    FOLDED_COLUMNS,
    MINUTE_COLUMNS,
    RATE_COLUMNS,
    group_name,
    group_table,
    minute_rows,
    problem_lines,
    rate_cells,
    with_names,
)
from duebus.cli.limits import format_key_policy, format_limits
from duebus.cli.records import record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_moment, format_span
from duebus.cli.watch import watch_topics


@connected
def topics(
    session: Session,
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Update the table until Ctrl-C. Without a terminal, print it once.")
    ] = False,
    engine: options.OneEngine = None,
) -> None:
    """List topics and the events in each group."""
    with session.client() as client:
        if watch and session.out.console.is_terminal and not session.out.as_json:
            watch_topics(session, client, engine)
            return
        found = list(client.admin.list_topics(engine=engine, page_size=1000))
    for each in found:
        session.out.record(record_of(each))
    named = list(with_names(found))
    if named:
        columns, rows = group_table([each for _, each in named])
        of_topics = [(name, *row) for (name, _), row in zip(named, rows, strict=True)]
        session.out.table(("TOPIC", *columns), of_topics, folded=FOLDED_COLUMNS)
    for line in problem_lines(found):
        session.out.line(line)
    if not found:
        session.out.line("there are no topics yet")


@connected
def topic(
    session: Session,
    name: options.Topic,
    minutes: Annotated[
        bool, typer.Option("--minutes", help="Show what happened in each minute of the last hour.")
    ] = False,
    engine: options.OneEngine = None,
) -> None:
    """Show a topic: settings, groups, rates and lateness, subscribers."""
    with session.client() as client:
        found = client.admin.get_topic(name, engine=engine)
    session.out.record(record_of(found))
    session.out.line(f"{found.topic} on {found.engine or 'an unknown engine'}: {found.queued} queued")
    session.out.line(_settings(found.config))
    for each in found.groups:
        if each.retry_policy != found.config.retry_policy:
            session.out.line(f"in group {each.group}: {_policy(each.retry_policy)}")
        for line in _limit_lines(each):
            session.out.line(f"in group {each.group}: {line}")
    session.out.line()
    columns, groups = group_table(found.groups)
    session.out.table(columns, groups, folded=FOLDED_COLUMNS)
    session.out.line()
    session.out.table(("GROUP", *RATE_COLUMNS), [(group_name(each), *rate_cells(each)) for each in found.groups])
    rows = list(_subscriber_rows(found.groups))
    if rows:
        session.out.line()
        session.out.table(("SUBSCRIBER", "GROUP", "IN FLIGHT", "CONNECTED", "SESSION"), rows)
    if minutes:
        session.out.line()
        session.out.table(MINUTE_COLUMNS, list(minute_rows(found.minutes)), folded=FOLDED_COLUMNS)


def _limit_lines(group: GroupInfo) -> Iterator[str]:
    if group.limits is not None:
        yield f"limits {format_limits(group.limits)}"
    if group.keys is not None:
        yield f"keys {format_key_policy(group.keys)}"
    if group.throttled_until is not None:
        yield f"throttled until {format_moment(group.throttled_until)}"


def _settings(config: TopicConfig) -> str:
    parts = (
        _policy(config.retry_policy),
        f"lease {format_span(config.lease)}",
        f"at most {config.max_queued} queued" if config.max_queued else "any number queued",
        f"dead letters kept {_kept(config)}",
        f"dedupe window {format_span(config.dedupe_window)}",
        *((f"{config.partitions} partitions",) if config.partitions > 1 else ()),
    )
    return ", ".join(parts)


def _policy(policy: RetryPolicy) -> str:
    backoff = f"{format_span(policy.backoff_initial)} to {format_span(policy.backoff_max)}"
    return f"{policy.max_retries} retries, backoff {backoff}"


def _kept(config: TopicConfig) -> str:
    return f"for {format_span(config.dead_letter_retention)}" if config.dead_letter_retention else "until purged"


def _subscriber_rows(groups: Iterable[GroupInfo]) -> Iterable[tuple[str, ...]]:
    for group in groups:
        for each in group.subscribers:
            connected_at = "" if each.connected_at is None else format_moment(each.connected_at)
            yield each.consumer or "(unnamed)", group.group, str(each.in_flight), connected_at, each.session_id
