"""`duebus dead`."""

from datetime import datetime, timedelta
from itertools import islice
from typing import Annotated

import typer

from duebus._core.admin_model import EventInfo
from duebus.cli import options
from duebus.cli.confirm import confirm
from duebus.cli.dead_letters import Chosen, extent_of, found, missing
from duebus.cli.failures import CommandFailed
from duebus.cli.groups import group_meant
from duebus.cli.output import clean, event_text, headline
from duebus.cli.progress import moving
from duebus.cli.records import event_record, record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_ago, format_count
from duebus.cli.waiting import named
from duebus.client import Client

_COLUMNS = ("ID", "DIED", "ATTEMPTS", "DATA", "LAST ERROR")


@connected
def dead(
    session: Session,
    topic: options.Topic,
    group: options.Group = "",
    *,
    redrive: Annotated[bool, typer.Option("--redrive", help="Make them ready again, with all their retries.")] = False,
    purge: Annotated[bool, typer.Option("--purge", help="Remove them for good.")] = False,
    error: Annotated[
        str | None, typer.Option("--error", metavar="TEXT", help="Only those whose last error contains this text.")
    ] = None,
    min_age: Annotated[
        timedelta | None,
        typer.Option(
            "--min-age",
            metavar="DURATION",
            parser=options.span_parser,
            help="Only those that have been dead for at least this long.",
        ),
    ] = None,
    event_id: Annotated[
        list[str] | None, typer.Option("--id", metavar="ID", help="Only the event of this id; may be repeated.")
    ] = None,
    key: Annotated[
        str | None, typer.Option("--key", metavar="KEY", help="Only those with this key, which one of them may hold.")
    ] = None,
    rate: Annotated[
        float,
        typer.Option("--rate", min=0, metavar="N", help="With --redrive: events a second. 0: all at once."),
    ] = 0,
    limit: options.Limit = 50,
    newest: options.Newest = False,
    engine: options.OneEngine = None,
    yes: options.Yes = False,
) -> None:
    """List a group's dead letters, make them ready again, or remove them.

    Only dead letters that match all the given options are selected; without any, all are.
    --purge asks first, and so does --redrive unless the ids are given. If one of the ids is not a dead letter of the
    group, the others are processed and the status is 1.
    """
    if redrive and purge:
        raise typer.BadParameter("can't be given together with --purge", param_hint="--redrive")
    if rate and not redrive:
        raise typer.BadParameter("is for --redrive", param_hint="--rate")
    for flag, is_empty in (("--error", error == ""), ("--key", key == ""), ("--id", "" in (event_id or ()))):
        if is_empty:  # an unset variable in a script must not select everything
            raise typer.BadParameter("is empty", param_hint=flag)
    with session.client() as client:
        group = group_meant(client, topic, group, engine)
        chosen = Chosen(topic, group, engine, tuple(event_id or ()), error or "", min_age, key or "")
        absent = missing(client, chosen) if redrive or purge else []
        if redrive:
            _redrive(session, client, chosen, rate, yes=yes or bool(event_id))
        elif purge:
            _purge(session, client, chosen, yes=yes)
        else:
            _list(session, client, chosen, limit, newest)
    if absent:
        raise CommandFailed(f"no dead letters of {chosen.where}: {named(absent)}")


def _list(session: Session, client: Client, chosen: Chosen, limit: int, newest: bool) -> None:
    letters = list(islice(found(client, chosen, newest=newest, limit=limit + 1), limit + 1))
    for each in letters[:limit]:
        session.out.record(event_record(each))
    if letters:
        rows = [_row(each) for each in letters[:limit]]
        session.out.table(_COLUMNS, rows, cut="DATA", folded=_COLUMNS[-1:])
    else:
        session.out.line(f"no such dead letters of {chosen.where}")
    if len(letters) > limit:
        session.out.line(f"and more: --limit is {limit}")


def _row(event: EventInfo) -> tuple[str, ...]:
    [group] = event.groups
    return (
        clean(event.event_id),
        _died(group.dead_at),
        str(group.attempts),
        event_text(event),
        headline(group.last_error),
    )


def _died(moment: datetime | None) -> str:
    return "" if moment is None else format_ago(moment)


def _redrive(session: Session, client: Client, chosen: Chosen, rate: float, *, yes: bool) -> None:
    total = _agreed(client, "redrive", chosen, yes=yes)
    with moving(f"redriving {chosen.topic}", total, lambda: chosen.dead_now(client)):
        result = client.admin.redrive(**chosen.conditions, rate=rate, timeout=session.given.timeout)
    session.out.record({**chosen.place, **record_of(result)})
    spread = f", {rate:g} a second" if rate else ""
    session.out.line(f"redrove {format_count(result.redriven, 'dead letter')} of {chosen.where}{spread}")


def _purge(session: Session, client: Client, chosen: Chosen, *, yes: bool) -> None:
    total = _agreed(client, "purge", chosen, yes=yes)
    with moving(f"purging {chosen.topic}", total, lambda: chosen.dead_now(client)):
        result = client.admin.purge(**chosen.conditions, timeout=session.given.timeout)
    session.out.record({**chosen.place, **record_of(result)})
    session.out.line(f"purged {format_count(result.purged, 'dead letter')} of {chosen.where}")


def _agreed(client: Client, action: str, chosen: Chosen, *, yes: bool) -> int | None:
    """Asks for confirmation unless --yes is given. Returns how many dead letters were shown, if they were counted."""
    if yes:
        return None if chosen.is_some else chosen.dead_now(client)
    extent = extent_of(client, chosen)
    if extent.count or not extent.is_exact:
        confirm(f"{action} {extent} of {chosen.where}")
    return extent.count if extent.is_exact else None
