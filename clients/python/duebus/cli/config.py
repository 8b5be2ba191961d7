"""`duebus config`."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any

import typer

from duebus._core.admin_model import RetryPolicy, TopicConfig
from duebus._core.enums import Engine
from duebus._core.limits import KeyPolicy, Limits
from duebus.cli import options
from duebus.cli.failures import CommandFailed
from duebus.cli.limits import format_key_policy, format_limits, parse_key_policy, parse_limits
from duebus.cli.records import record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_span
from duebus.client import Client

_OF_GROUPS = ("max_retries", "backoff_initial", "backoff_max", "limits", "keys")

_Row = tuple[str, str]


def _duration(text: str) -> Any:
    return typer.Option(metavar="DURATION", parser=options.span_parser, help=text)


def _number(text: str, least: int = 0) -> Any:
    return typer.Option(metavar="N", min=least, help=text)


@connected
def config(
    session: Session,
    topic: options.Topic,
    group: Annotated[str, typer.Option("--group", "-g", metavar="NAME", help="The settings of this group alone.")] = "",
    *,
    max_retries: Annotated[int | None, _number("How many times an event is retried before it is dead.")] = None,
    backoff_initial: Annotated[timedelta | None, _duration("The backoff before the first retry.")] = None,
    backoff_max: Annotated[timedelta | None, _duration("The longest backoff.")] = None,
    lease: Annotated[timedelta | None, _duration("How long a delivery is leased.")] = None,
    max_queued: Annotated[int | None, _number("How many events the topic may hold; 0 is unlimited.")] = None,
    dedupe_window: Annotated[timedelta | None, _duration("How long ids are remembered to detect duplicates.")] = None,
    dead_letter_retention: Annotated[
        timedelta | None, _duration("How long dead letters are kept; 0s is forever.")
    ] = None,
    partitions: Annotated[int | None, _number("How many partitions the events are spread over.", least=1)] = None,
    limits: Annotated[
        Limits | None,
        typer.Option(
            metavar="LIMITS",
            parser=parse_limits,
            help="The limits of a group, such as max-in-flight=5,rate=10/1s,burst=20; none removes it.",
        ),
    ] = None,
    keys: Annotated[
        KeyPolicy | None,
        typer.Option(
            metavar="POLICY",
            parser=parse_key_policy,
            help="How a group handles events with the same key, such as max-in-flight=1,on-dead=hold or rate=1/1s; "
            "none removes it.",
        ),
    ] = None,
    engine: options.OneEngine = None,
) -> None:
    """Show or change the settings of a topic, or those of one of its groups.

    Changes apply on every server within a second. Settings that were never changed follow the server's, and those of a
    group follow the topic's.
    """
    changes: dict[str, Any] = {
        "max_retries": max_retries,
        "backoff_initial": backoff_initial,
        "backoff_max": backoff_max,
        "lease": lease,
        "max_queued": max_queued,
        "dedupe_window": dedupe_window,
        "dead_letter_retention": dead_letter_retention,
        "partitions": partitions,
        "limits": limits,
        "keys": keys,
    }
    changes = {name: value for name, value in changes.items() if value is not None}
    if group:
        _refuse_others(changes)
    with session.client() as client:
        if changes:
            now = client.admin.configure_topic(topic, group=group, engine=engine, **changes)
        else:
            now = _in_force(client, topic, group, engine)
    _show(session, topic, group, now)


def _refuse_others(changes: Iterable[str]) -> None:
    for name in changes:
        if name not in _OF_GROUPS:
            flag = f"--{name.replace('_', '-')}"
            raise typer.BadParameter("is a setting of the whole topic: not with --group", param_hint=flag)


def _in_force(client: Client, topic: str, group: str, engine: Engine | None) -> TopicConfig:
    found = client.admin.get_topic(topic, engine=engine)
    if not group:
        return found.config
    for each in found.groups:
        if each.group == group:
            return replace(found.config, retry_policy=each.retry_policy, limits=each.limits, keys=each.keys)
    raise CommandFailed(f"topic {topic} has no group {group}")


def _show(session: Session, topic: str, group: str, now: TopicConfig) -> None:
    record = record_of(now)
    if group:
        record = {"group": group, **{name: record[name] for name in ("retry_policy", "limits", "keys")}}
    session.out.record({"topic": topic, **record})
    rows = [*_policy_rows(now.retry_policy), *(() if group else _topic_rows(now)), *_limit_rows(now)]
    session.out.table(("SETTING", "VALUE"), rows)


def _policy_rows(policy: RetryPolicy) -> Iterator[_Row]:
    yield "max-retries", str(policy.max_retries)
    yield "backoff-initial", format_span(policy.backoff_initial)
    yield "backoff-max", format_span(policy.backoff_max)


def _limit_rows(config: TopicConfig) -> Iterator[_Row]:
    yield "limits", format_limits(config.limits)
    yield "keys", format_key_policy(config.keys)


def _topic_rows(config: TopicConfig) -> Iterator[_Row]:
    yield "lease", format_span(config.lease)
    yield "max-queued", str(config.max_queued) if config.max_queued else "unlimited"
    yield "dedupe-window", format_span(config.dedupe_window)
    kept = config.dead_letter_retention
    yield "dead-letter-retention", format_span(kept) if kept else "until purged"
    yield "partitions", str(config.partitions)
