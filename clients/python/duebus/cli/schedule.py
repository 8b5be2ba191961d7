"""`duebus schedule`."""

import os
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Annotated, Any

import typer

from duebus._core.schedule_model import CatchUp, Overlap, ScheduleInfo
from duebus.cli import conversion, options
from duebus.cli.confirm import confirm
from duebus.cli.dispatch import JSON_TYPE
from duebus.cli.output import clean, payload_json, payload_text
from duebus.cli.records import Record, record_of
from duebus.cli.server_options import option_parser
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_ago, format_count, format_moment, format_moment_json, parse_moment

_COLUMNS = ("NAME", "TOPIC", "NEXT", "LAST", "RUNS", "SKIPPED", "MISSED", "RULE")
_NEXT_SHOWN = 3

schedule = typer.Typer(
    help="Dispatch an event again and again, by cron or at a fixed interval.",
    cls=conversion.Group,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_command = schedule.command


def _choice(names: Iterable[str]) -> Any:
    known = list(names)

    def parse(text: str) -> str:
        if text not in known:
            raise ValueError(f"{text!r} is not one of {', '.join(known)}")
        return text

    return option_parser(parse)


_moment_parser = option_parser(parse_moment)
_Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.", show_default=False)]
_Cron = Annotated[
    str | None,
    typer.Option(
        "--cron",
        metavar="TEXT",
        help="Minute, hour, day of month, month, day of week; with six fields, the second comes first.",
    ),
]
_Every = Annotated[
    timedelta | None,
    typer.Option(
        "--every", metavar="DURATION", parser=options.span_parser, help="In place of --cron: every 30s, 5m, 2h, 1d."
    ),
]
_Zone = Annotated[
    str, typer.Option("--zone", metavar="ZONE", help="The time zone of --cron, such as Europe/Berlin. Default: UTC.")
]
_Start = Annotated[
    datetime | None,
    typer.Option("--start", metavar="TIME", parser=_moment_parser, help="It does not fire before this time."),
]
_End = Annotated[
    datetime | None,
    typer.Option("--end", metavar="TIME", parser=_moment_parser, help="It does not fire after this time."),
]
_RequestId = Annotated[
    str | None,
    typer.Option("--request-id", metavar="ID", help="Part of each event's id, so that a repetition adds nothing."),
]


@schedule.callback()
def _root() -> None:
    """Dispatch an event again and again, by cron or at a fixed interval."""


@_command(cls=conversion.Command)
@connected
def put(
    session: Session,
    name: _Name,
    topic: options.Topic,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="The payload, as JSON or text.", show_default=False)
    ] = None,
    *,
    cron: _Cron = None,
    every: _Every = None,
    zone: _Zone = "",
    attribute: options.Attributes = None,
    content_type: Annotated[
        str | None, typer.Option("--content-type", metavar="TYPE", help="The payload's media type.")
    ] = None,
    max_retries: Annotated[
        int | None, typer.Option("--max-retries", min=0, metavar="N", help="How many retries an event has.")
    ] = None,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Deliver the events with this key one at a time, in order.")
    ] = "",
    priority: options.Priority = 0,
    start: _Start = None,
    end: _End = None,
    max_runs: Annotated[
        int, typer.Option("--max-runs", min=0, metavar="N", help="End after so many firings. 0: never.")
    ] = 0,
    jitter: Annotated[
        timedelta | None,
        typer.Option(
            "--jitter",
            metavar="DURATION",
            parser=options.span_parser,
            help="Fire up to this much later, differently each time.",
        ),
    ] = None,
    overlap: Annotated[
        str,
        typer.Option(
            "--overlap",
            metavar="CHOICE",
            parser=_choice(each for each in Overlap if each is not Overlap.UNKNOWN),
            help="While an earlier event is unfinished: allow, skip or buffer_one.",
        ),
    ] = Overlap.ALLOW,
    catch_up: Annotated[
        str,
        typer.Option(
            "--catch-up",
            metavar="CHOICE",
            parser=_choice(each for each in CatchUp if each is not CatchUp.UNKNOWN),
            help="What passed while the bus was down: last, all or none.",
        ),
    ] = CatchUp.LAST,
    catch_up_window: Annotated[
        timedelta | None,
        typer.Option(
            "--catch-up-window",
            metavar="DURATION",
            parser=options.span_parser,
            help="With --catch-up all: how long ago it may be. Default: 1h.",
        ),
    ] = None,
    paused: Annotated[bool, typer.Option("--paused", help="Pause it, if it is new.")] = False,
    note: Annotated[str, typer.Option("--note", metavar="TEXT", help="A note for people.")] = "",
    engine: options.OneEngine = None,
) -> None:
    """Create or replace a schedule.

    An equal one changes nothing. A replaced one keeps its counters and its pause.
    """
    with session.client() as client:
        info = client.schedules.put(
            name,
            topic,
            os.fsencode(data or ""),
            cron=cron,
            every=every,
            zone=zone,
            attributes=dict(attribute or ()),
            content_type=content_type or JSON_TYPE,
            max_retries=max_retries,
            key=key,
            priority=priority,
            start=start,
            end=end,
            max_runs=max_runs,
            jitter=jitter,
            overlap=overlap,
            catch_up=catch_up,
            catch_up_window=catch_up_window,
            paused=paused,
            note=note,
            engine=engine,
        )
    session.out.record(_record(info))
    session.out.line(f"{name} dispatches to {topic} {_words(info)}")


@_command(cls=conversion.Command)
@connected
def get(session: Session, name: _Name, engine: options.OneEngine = None) -> None:
    """Show a schedule, its next times and its counters."""
    with session.client() as client:
        info = client.schedules.get(name, engine=engine)
    session.out.record(_record(info))
    for label, value in _facts(info):
        session.out.line(f"{label:<12}{value}")


@_command("list", cls=conversion.Command)
@connected
def list_(session: Session, engine: options.OneEngine = None) -> None:
    """List the schedules by name."""
    with session.client() as client:
        found = list(client.schedules.list(engine=engine))
    for info in found:
        session.out.record(_record(info))
    if found:
        session.out.table(_COLUMNS, [_row(info) for info in found], cut="RULE")
    else:
        session.out.line("there are no schedules")


@_command(cls=conversion.Command)
@connected
def pause(session: Session, name: _Name, engine: options.OneEngine = None) -> None:
    """Stop a schedule from firing until it is resumed."""
    with session.client() as client:
        client.schedules.pause(name, engine=engine)
    session.out.record({"name": name, "paused": True})
    session.out.line(f"paused {name}; 'duebus schedule resume {name}' ends it")


@_command(cls=conversion.Command)
@connected
def resume(session: Session, name: _Name, engine: options.OneEngine = None) -> None:
    """End the pause of a schedule.

    What would have fired meanwhile is not made up for; 'duebus schedule backfill' does that.
    """
    with session.client() as client:
        client.schedules.resume(name, engine=engine)
        info = client.schedules.get(name, engine=engine)
    session.out.record({"name": name, "paused": False})
    session.out.line(f"resumed {name}: {_words(info)}")


@_command(cls=conversion.Command)
@connected
def trigger(session: Session, name: _Name, request_id: _RequestId = None, engine: options.OneEngine = None) -> None:
    """Dispatch a schedule's event once, now, also while it is paused."""
    with session.client() as client:
        event_id = client.schedules.trigger(name, request_id=request_id, engine=engine)
    session.out.record({"name": name, "event_id": event_id})
    session.out.line(f"dispatched {event_id}")


@_command(cls=conversion.Command)
@connected
def backfill(
    session: Session,
    name: _Name,
    *,
    start: Annotated[
        datetime, typer.Option("--from", metavar="TIME", parser=_moment_parser, help="Nominal times from here on.")
    ],
    end: Annotated[
        datetime, typer.Option("--until", metavar="TIME", parser=_moment_parser, help="Nominal times before this.")
    ],
    request_id: _RequestId = None,
    engine: options.OneEngine = None,
) -> None:
    """Dispatch the events of a span of time, all now.

    There is one for each nominal time in it, and at most 1,000.
    """
    with session.client() as client:
        ids = client.schedules.backfill(name, start, end, request_id=request_id, engine=engine)
    session.out.record({"name": name, "event_ids": list(ids)})
    session.out.line(f"dispatched {format_count(len(ids), 'event')} of {name}")


@_command(cls=conversion.Command)
@connected
def preview(
    session: Session,
    *,
    cron: _Cron = None,
    every: _Every = None,
    zone: _Zone = "",
    start: _Start = None,
    end: _End = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, max=1_000, metavar="N", help="How many times.")] = 10,
    after: Annotated[
        datetime | None,
        typer.Option("--after", metavar="TIME", parser=_moment_parser, help="Times after this. Default: now."),
    ] = None,
) -> None:
    """Show when a rule would fire. Nothing is stored."""
    with session.client() as client:
        found = client.schedules.preview(
            cron=cron, every=every, zone=zone, start=start, end=end, count=count, after=after
        )
    session.out.record({"description": found.description, "times": [format_moment_json(each) for each in found.times]})
    session.out.line(found.description)
    for each in found.times:
        session.out.line(f"{format_moment(each)}  {format_ago(each)}")


@_command(cls=conversion.Command)
@connected
def delete(session: Session, name: _Name, *, yes: options.Yes = False, engine: options.OneEngine = None) -> None:
    """Remove a schedule. Asks first.

    Events that it has dispatched stay.
    """
    with session.client() as client:
        info = client.schedules.get(name, engine=engine)
        if not yes:
            confirm(f"delete the schedule {name} of {info.schedule.topic}")
        client.schedules.delete(name, engine=engine)
    session.out.record({"name": name, "deleted": True})
    session.out.line(f"deleted {name}")


def _record(info: ScheduleInfo) -> Record:
    record = record_of(info)
    event = info.schedule
    del record["schedule"]["data"]
    record["schedule"] |= payload_json(event.data, event.content_type)
    return record


def _words(info: ScheduleInfo) -> str:
    """The rule in words, and when it fires next."""
    if info.schedule.paused:
        return f"{info.description}; paused"
    if not info.next:
        return f"{info.description}; it does not fire again"
    return f"{info.description}; next: {', '.join(format_moment(each) for each in info.next[:_NEXT_SHOWN])}"


def _facts(info: ScheduleInfo) -> Iterable[tuple[str, str]]:
    schedule = info.schedule
    yield "schedule", schedule.name
    yield "topic", schedule.topic
    yield "rule", f"{clean(schedule.cron)}: {info.description}" if schedule.cron else info.description
    yield "data", payload_text(schedule.data, schedule.content_type)
    if schedule.key:
        yield "key", clean(schedule.key)
    if schedule.priority:
        yield "priority", str(schedule.priority)
    for name, value in sorted(schedule.attributes.items()):
        yield "attribute", f"{clean(name)}={clean(value)}"
    yield "overlap", schedule.overlap
    yield "catch-up", schedule.catch_up
    if schedule.note:
        yield "note", clean(schedule.note)
    yield "fired", f"{format_count(info.runs, 'time')}, skipped {info.skipped:,}, missed {info.missed:,}"
    if info.last_fired_at is not None:
        yield "last", f"{format_moment(info.last_fired_at)} ({format_ago(info.last_fired_at)})"
    if schedule.paused:
        yield "next", "paused"
    for each in info.next:
        yield "next", f"{format_moment(each)} ({format_ago(each)})"


def _row(info: ScheduleInfo) -> tuple[str, ...]:
    schedule = info.schedule
    upcoming = format_ago(info.next[0]) if info.next else "ended"
    last = "" if info.last_fired_at is None else format_ago(info.last_fired_at)
    counters = (f"{info.runs:,}", f"{info.skipped:,}", f"{info.missed:,}")
    return (
        schedule.name,
        schedule.topic,
        "paused" if schedule.paused else upcoming,
        last,
        *counters,
        info.description,
    )
