"""`duebus cancel` and `duebus reschedule`."""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from typing import Annotated

import typer

from duebus._core.admin_model import Cancelled
from duebus._core.enums import Engine
from duebus.cli import options
from duebus.cli.confirm import confirm
from duebus.cli.explanations import explain
from duebus.cli.failures import CommandFailed
from duebus.cli.progress import load_progress
from duebus.cli.records import record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_count, format_moment, format_span
from duebus.client import Client
from duebus.errors import DueBusError

# How many events the server accepts in one call.
_BATCH = 1000
_NAMED_AT_MOST = 5


@connected
def cancel(
    session: Session,
    topic: options.Topic,
    event_ids: Annotated[
        list[str] | None, typer.Argument(metavar="[ID...]", help="The events' ids.", show_default=False)
    ] = None,
    key: Annotated[str, typer.Option("--key", metavar="KEY", help="All events with this key, in place of IDs.")] = "",
    group: options.AnyGroup = "",
    engine: options.OneEngine = None,
    yes: options.Yes = False,
) -> None:
    """Remove scheduled, ready or blocked events.

    Asks first unless it is a single event. Leased and dead events are skipped. The status is 1 if an event was skipped
    or not found.
    """
    wanted = list(dict.fromkeys(event_ids or ()))
    if bool(wanted) == bool(key):
        raise typer.BadParameter("give either IDs or --key", param_hint="ID")
    if (key or len(wanted) > 1) and not yes:
        what = f"all events with the key {key}" if key else format_count(len(wanted), "event")
        confirm(f"cancel {what} of {topic}{_in(group)}")
    with session.client() as client:
        if key:
            timeout = session.given.timeout
            result = client.admin.cancel(topic, key=key, group=group, engine=engine, timeout=timeout)
        else:
            result = _cancelled(session, client, topic, wanted, group, engine)
    session.out.record({"topic": topic, **record_of(result)})
    session.out.line(f"cancelled {format_count(result.cancelled, 'event')} of {topic}{_in(group)}")
    complaint = "; ".join(_left(result))
    if complaint:
        raise CommandFailed(complaint)


def _cancelled(
    session: Session, client: Client, topic: str, event_ids: list[str], group: str, engine: Engine | None
) -> Cancelled:
    cancelled = 0
    leased: list[str] = []
    missing: list[str] = []
    with load_progress(f"cancelling {topic}", events=len(event_ids)) as progress:
        for start in range(0, len(event_ids), _BATCH):
            batch = event_ids[start : start + _BATCH]
            try:
                result = client.admin.cancel(topic, batch, group=group, engine=engine)
            except DueBusError as error:
                before = f"; {format_count(cancelled, 'event')} cancelled before that" if start else ""
                raise CommandFailed(f"{explain(error, session.server)}{before}") from error
            cancelled += result.cancelled
            leased += result.leased_event_ids
            missing += result.missing_event_ids
            progress.on_stored(batch)
    return Cancelled(cancelled, tuple(leased), tuple(missing))


def _left(result: Cancelled) -> Iterator[str]:
    if result.leased_event_ids:
        yield f"skipped, because they are leased or dead: {named(result.leased_event_ids)}"
    if result.missing_event_ids:
        yield f"not found: {named(result.missing_event_ids)}"


def named(event_ids: Sequence[str]) -> str:
    """The first ones, and how many more there are."""
    more = len(event_ids) - _NAMED_AT_MOST
    return ", ".join(event_ids[:_NAMED_AT_MOST]) + (f" and {more:,} more" if more > 0 else "")


def _in(group: str) -> str:
    return f" in group {group}" if group else ""


@connected
def reschedule(
    session: Session,
    topic: options.Topic,
    event_ids: options.EventIds,
    *,
    delay: options.Delay = None,
    at: options.At = None,
    group: options.AnyGroup = "",
    engine: options.OneEngine = None,
) -> None:
    """Move the due time of events that are not leased, all of them or none.

    With --delay 0s they are due now. The command fails if one of them is leased or dead.
    """
    if delay is not None and at is not None:
        raise typer.BadParameter("can't be given together with --at", param_hint="--delay")
    if delay is None and at is None:
        raise typer.BadParameter("give the new time: --delay or --at", param_hint="--delay")
    with session.client() as client:
        result = client.admin.reschedule(topic, event_ids, delay=delay, at=at, group=group, engine=engine)
    session.out.record({"topic": topic, **record_of(result)})
    session.out.line(
        f"rescheduled {format_count(result.rescheduled, 'event')} of {topic}{_in(group)}, due {_due(delay, at)}"
    )


def _due(delay: timedelta | None, at: datetime | None) -> str:
    if at is not None:
        return format_moment(at)
    return f"in {format_span(delay)}" if delay else "now"
