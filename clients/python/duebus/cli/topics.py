"""`duebus topics` and `duebus topic`."""

from collections.abc import Iterable

from duebus import GroupInfo, TopicConfig, TopicInfo
from duebus.cli import options
from duebus.cli.records import record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_moment, format_span

NO_GROUP = "(no group yet)"

_GROUP_COLUMNS = ("GROUP", "SCHEDULED", "READY", "LEASED", "DEAD", "SUBSCRIBERS", "OLDEST READY")
_RATE_COLUMNS = ("GROUP", "DISPATCHED/S", "DELIVERED/S", "ACKED/S", "NACKED/S")


@connected
def topics(session: Session, engine: options.OneEngine = None) -> None:
    """List topics and what waits in each group."""
    with session.client() as client:
        found = list(client.admin.list_topics(engine=engine, page_size=1000))
    for each in found:
        session.out.record(record_of(each))
    if found:
        session.out.table(("TOPIC", *_GROUP_COLUMNS), list(_topic_rows(found)))
    else:
        session.out.line("there are no topics yet")


def _topic_rows(found: Iterable[TopicInfo]) -> Iterable[tuple[str, ...]]:
    for each in found:
        for group in each.groups:
            yield (each.topic, *_group_cells(group))
        if not each.groups:
            yield (each.topic, NO_GROUP, "0", "0", "0", "0", "0", "")


def _group_cells(group: GroupInfo) -> tuple[str, ...]:
    return (
        (group.group or NO_GROUP) + (" (paused)" if group.paused else ""),
        *map(str, (group.scheduled, group.ready, group.leased, group.dead, len(group.subscribers))),
        "" if group.oldest_ready_age is None else format_span(group.oldest_ready_age),
    )


@connected
def topic(session: Session, name: options.Topic, engine: options.OneEngine = None) -> None:
    """Show a topic: settings, groups, subscribers."""
    with session.client() as client:
        found = client.admin.get_topic(name, engine=engine)
    session.out.record(record_of(found))
    session.out.line(f"{found.topic} on {found.engine or 'an unknown engine'}: {found.queued} queued")
    session.out.line(_settings(found.config))
    session.out.line()
    session.out.table(_GROUP_COLUMNS, [_group_cells(each) for each in found.groups])
    session.out.line()
    session.out.table(_RATE_COLUMNS, [_rate_cells(each) for each in found.groups])
    rows = list(_subscriber_rows(found.groups))
    if rows:
        session.out.line()
        session.out.table(("SUBSCRIBER", "GROUP", "IN FLIGHT", "CONNECTED", "SESSION"), rows)


def _settings(config: TopicConfig) -> str:
    policy = config.retry_policy
    parts = (
        f"{policy.max_retries} retries",
        f"backoff {format_span(policy.backoff_initial)} to {format_span(policy.backoff_max)}",
        f"lease {format_span(config.lease)}",
        f"at most {config.max_queued} queued" if config.max_queued else "any number queued",
        f"dead letters kept {_kept(config)}",
        f"dedupe window {format_span(config.dedupe_window)}",
    )
    return ", ".join(parts)


def _kept(config: TopicConfig) -> str:
    return f"for {format_span(config.dead_letter_retention)}" if config.dead_letter_retention else "until purged"


def _rate_cells(group: GroupInfo) -> tuple[str, ...]:
    rates = group.rates
    each_second = (rates.dispatched, rates.delivered, rates.acked, rates.nacked)
    return (group.group or NO_GROUP, *(f"{rate:.1f}" for rate in each_second))


def _subscriber_rows(groups: Iterable[GroupInfo]) -> Iterable[tuple[str, ...]]:
    for group in groups:
        for each in group.subscribers:
            connected_at = "" if each.connected_at is None else format_moment(each.connected_at)
            yield each.consumer or "(unnamed)", group.group, str(each.in_flight), connected_at, each.session_id
