"""`duebus events` and `duebus keys`."""

from collections.abc import Sequence
from itertools import islice
from typing import Annotated

import typer

from duebus._core.admin_model import EventInfo, KeyInfo
from duebus._core.enums import Engine, EventState
from duebus.cli import options
from duebus.cli.groups import group_or_none
from duebus.cli.output import event_text, headline
from duebus.cli.records import event_record, record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_ago, format_moment
from duebus.client import Client

_STATES = (EventState.SCHEDULED, EventState.READY, EventState.BLOCKED, EventState.LEASED, EventState.DEAD)
_PAGE = 1000
_COLUMNS = ("STATE", "ID", "DUE", "ATTEMPTS", "DATA", "LAST ERROR")


@connected
def events(
    session: Session,
    topic: options.Topic,
    state: Annotated[
        list[options.State] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="scheduled, ready, blocked, leased or dead; may be given several times. Default: all.",
        ),
    ] = None,
    group: options.Group = "",
    key: options.OfKey = "",
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many to list of each state.")] = 50,
    newest: options.Newest = False,
    engine: options.OneEngine = None,
) -> None:
    """List a topic's events by state.

    Of each state, the earliest come first: by due time, by the end of the lease, or by time of death.
    """
    rows: list[tuple[str, ...]] = []
    cut = False
    with session.client() as client:
        group = group_or_none(client, topic, group, engine)
        for each in [EventState(one.value) for one in state or ()] or _STATES:
            found = _list(client, topic, each, group, key, engine, newest, limit + 1)
            cut = cut or len(found) > limit
            for info in found[:limit]:
                session.out.record(event_record(info))
                rows.append(_row(info))
    if rows:
        session.out.table(
            ("STATE", "ID", "DUE", "ATTEMPTS", "DATA", "LAST ERROR"), rows, cut="DATA", folded=("LAST ERROR",)
        )
    else:
        session.out.line(f"no such events of {topic} in group {group or 'default'}")
    if cut:
        session.out.line(f"and more: --limit is {limit}")


@connected
def keys(
    session: Session,
    topic: options.Topic,
    group: options.Group = "",
    limit: options.Limit = 50,
    engine: options.OneEngine = None,
) -> None:
    """List the keys that hold up events of a topic, the most blocked first.

    A key is listed while one of its events is ready, leased, blocked or waits for its retry, or a dead letter holds it.
    """
    with session.client() as client:
        group = group_or_none(client, topic, group, engine)
        listed = client.admin.list_keys(topic, group=group, engine=engine, page_size=min(limit + 1, _PAGE))
        found = list(islice(listed, limit + 1))
    for each in found[:limit]:
        session.out.record(record_of(each))
    rows = [
        (each.key, str(each.blocked), str(each.in_flight), each.head_event_id, _closed(each)) for each in found[:limit]
    ]
    if rows:
        session.out.table(("KEY", "BLOCKED", "IN FLIGHT", "WAITS FOR", "CLOSED"), rows, folded=("KEY", "WAITS FOR"))
    else:
        session.out.line(f"no key of {topic} holds an event in group {group or 'default'}")
    if len(found) > limit:
        session.out.line(f"and more: --limit is {limit}")


def _closed(key: KeyInfo) -> str:
    """Why nothing of the key is delivered now, beside the event that is before."""
    if key.held:
        return "by a dead letter"
    return "" if key.opens_at is None else f"until {format_moment(key.opens_at)}"


def _list(
    client: Client,
    topic: str,
    state: EventState,
    group: str,
    key: str,
    engine: Engine | None,
    newest: bool,
    limit: int,
) -> Sequence[EventInfo]:
    listed = client.admin.list_events(
        topic, state, group=group, key=key, engine=engine, newest_first=newest, page_size=min(limit, _PAGE)
    )
    return list(islice(listed, limit))


def _row(event: EventInfo) -> tuple[str, ...]:
    [group] = event.groups
    return (
        group.state,
        event.event_id,
        "" if group.deliver_at is None else format_ago(group.deliver_at),
        str(group.attempts),
        event_text(event),
        headline(group.last_error),
    )
