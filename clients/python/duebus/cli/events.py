"""`duebus events` and `duebus event`."""

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Annotated

import typer

from duebus import Attempt, Client, Engine, EventGroupInfo, EventInfo, EventState
from duebus.cli import options
from duebus.cli.output import clean, payload_text
from duebus.cli.records import event_record
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_moment, format_span
from duebus.cli.topics import NO_GROUP

_STATES = (EventState.SCHEDULED, EventState.READY, EventState.LEASED, EventState.DEAD)
_PAGE = 1000


@connected
def events(
    session: Session,
    topic: options.Topic,
    state: Annotated[
        list[options.State] | None,
        typer.Option(
            "--state",
            metavar="STATE",
            help="scheduled, ready, leased or dead; may be given several times. Default: all.",
        ),
    ] = None,
    group: options.Group = "",
    limit: Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many of each state.")] = 50,
    newest: Annotated[
        bool, typer.Option("--newest", help="Latest first: by due time, lease expiry (leased) or death (dead).")
    ] = False,
    engine: options.OneEngine = None,
) -> None:
    """List a topic's events by state."""
    rows: list[tuple[str, ...]] = []
    cut = False
    with session.client() as client:
        for each in [EventState(one.value) for one in state or ()] or _STATES:
            found = _list(client, topic, each, group, engine, newest, limit + 1)
            cut = cut or len(found) > limit
            for info in found[:limit]:
                session.out.record(event_record(info))
                rows.append(_row(info))
    if rows:
        session.out.table(("STATE", "ID", "DUE", "ATTEMPTS", "DATA", "LAST ERROR"), rows, wide="DATA")
    else:
        session.out.line(f"no such events of {topic} in group {group or 'default'}")
    if cut:
        session.out.line(f"and more: --limit is {limit}")


def _list(
    client: Client, topic: str, state: EventState, group: str, engine: Engine | None, newest: bool, limit: int
) -> Sequence[EventInfo]:
    listed = client.admin.list_events(
        topic, state, group=group, engine=engine, newest_first=newest, page_size=min(limit, _PAGE)
    )
    return list(islice(listed, limit))


def _row(event: EventInfo) -> tuple[str, ...]:
    [group] = event.groups
    return (
        group.state,
        event.event_id,
        "" if group.deliver_at is None else _from_now(group.deliver_at),
        str(group.attempts),
        payload_text(event.data, event.content_type),
        clean(group.last_error),
    )


def _from_now(moment: datetime) -> str:
    ahead = moment - datetime.now(UTC)
    return f"in {format_span(ahead)}" if ahead.total_seconds() > 0 else f"{format_span(-ahead)} ago"


@connected
def event(
    session: Session,
    topic: options.Topic,
    event_id: Annotated[str, typer.Argument(metavar="ID", help="The event's id.", show_default=False)],
    engine: options.OneEngine = None,
) -> None:
    """Tell the story of an event.

    Where it stands in each group that is not done with it, its attempts and their errors.
    """
    with session.client() as client:
        found = client.admin.get_event(topic, event_id, engine=engine)
    session.out.record(event_record(found))
    for name, value in _facts(found):
        session.out.line(f"{name:<12}{value}")
    for group in found.groups:
        session.out.line()
        session.out.line(f"in group {group.group or NO_GROUP}: {_standing(group)}")
        if group.last_error:
            session.out.line(f"last error: {clean(group.last_error)}")
        if group.history:
            session.out.table(("ATTEMPT", "BEGAN", "TOOK", "OUTCOME", "CONSUMER", "ERROR"), list(_attempts(group)))


def _facts(event: EventInfo) -> Iterator[tuple[str, str]]:
    yield "event", clean(event.event_id)
    yield "topic", event.topic
    yield "data", payload_text(event.data, event.content_type)
    yield "type", clean(event.content_type)
    for name, value in sorted(event.attributes.items()):
        yield "attribute", f"{clean(name)}={clean(value)}"
    if event.dispatched_at is not None:
        by = f" by {clean(event.dispatched_by)}" if event.dispatched_by else ""
        yield "dispatched", f"{format_moment(event.dispatched_at)}{by}"


def _standing(group: EventGroupInfo) -> str:
    tries = f"{group.attempts} attempt{'' if group.attempts == 1 else 's'}, {group.max_retries} retries allowed"
    match group.state:
        case EventState.LEASED if group.lease_expires_at is not None:
            state = f"leased to {group.consumer or 'a subscriber'} until {format_moment(group.lease_expires_at)}"
        case EventState.DEAD if group.dead_at is not None:
            state = f"dead since {format_moment(group.dead_at)}"
        case _ if group.deliver_at is not None:
            state = f"{group.state}, due {format_moment(group.deliver_at)} ({_from_now(group.deliver_at)})"
        case _:
            state = group.state
    return f"{state}; {tries}"


def _attempts(group: EventGroupInfo) -> Iterable[tuple[str, ...]]:
    for each in group.history:
        began = "" if each.started_at is None else format_moment(each.started_at)
        outcome = each.outcome.replace("_", " ")
        yield str(each.attempt), began, _took(each), outcome, clean(each.consumer), clean(each.error)


def _took(attempt: Attempt) -> str:
    if attempt.started_at is None or attempt.ended_at is None:
        return ""
    return format_span(attempt.ended_at - attempt.started_at)
