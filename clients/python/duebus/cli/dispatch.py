"""`duebus dispatch`."""

import os
from dataclasses import replace
from datetime import timedelta
from typing import Annotated

import typer

from duebus._core.enums import Engine
from duebus._core.model import NewEvent
from duebus.cli import options
from duebus.cli.lines import why_not_json
from duebus.cli.loading import Target, dispatch_copies, dispatch_file
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_moment, format_span

JSON_TYPE = "application/json"
TEXT_TYPE = "text/plain; charset=utf-8"


@connected
def dispatch(
    session: Session,
    topic: options.Topic,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="The payload, as JSON or text.", show_default=False)
    ] = None,
    *,
    file: Annotated[
        str | None,
        typer.Option("--file", "-f", metavar="FILE", help="Dispatch each line of a file of JSON payloads; - is stdin."),
    ] = None,
    delay: options.Delay = None,
    at: options.At = None,
    count: Annotated[int, typer.Option("--count", "-n", min=1, metavar="N", help="Dispatch it this many times.")] = 1,
    event_id: Annotated[
        str,
        typer.Option(
            "--id",
            metavar="ID",
            help="The event's id. Adds nothing if the topic already has it. "
            "With --file or --count the events are ID-1, ID-2 and so on.",
        ),
    ] = "",
    attribute: options.Attributes = None,
    content_type: Annotated[
        str | None, typer.Option("--content-type", metavar="TYPE", help="The payload's media type.")
    ] = None,
    max_retries: Annotated[
        int | None, typer.Option("--max-retries", min=0, metavar="N", help="How many retries it has before it is dead.")
    ] = None,
    key: Annotated[
        str, typer.Option("--key", metavar="KEY", help="Deliver the events with this key one at a time, in order.")
    ] = "",
    priority: options.Priority = 0,
    engine: Annotated[
        list[Engine] | None,
        typer.Option("--engine", metavar="ENGINE", help="The engine to store it, local or redis; may be repeated."),
    ] = None,
    require_subscriber: Annotated[
        bool, typer.Option("--require-subscriber", help="Fail unless the topic has a subscriber.")
    ] = False,
) -> None:
    """Dispatch events, now or for later."""
    _check_combination(data, file, count, delay is not None and at is not None)
    template = NewEvent(
        data=b"",
        id=event_id,
        delay=delay,
        at=at,
        attributes=dict(attribute or ()),
        content_type=content_type or JSON_TYPE,
        max_retries=max_retries,
        key=key,
        priority=priority,
    )
    target = Target(topic=topic, template=template, engines=tuple(engine or ()), require_subscriber=require_subscriber)
    if file is not None:
        dispatch_file(session, target, file)
        return
    payload = os.fsencode(data or "")
    if content_type is None and why_not_json(payload):
        target = replace(target, template=replace(template, content_type=TEXT_TYPE))
    if count == 1:
        _dispatch_one(session, target, replace(target.template, data=payload))
    else:
        dispatch_copies(session, target, payload, count)


def _check_combination(data: str | None, file: str | None, count: int, delay_and_at: bool) -> None:
    if delay_and_at:
        raise typer.BadParameter("can't be given together with --at", param_hint="--delay")
    if (data is None) == (file is None):
        raise typer.BadParameter("give either DATA or --file FILE", param_hint="DATA")
    if file is not None and count > 1:
        raise typer.BadParameter("can't be given together with --file", param_hint="--count")


def _dispatch_one(session: Session, target: Target, event: NewEvent) -> None:
    with session.client() as client:
        [result] = target.send(client, [event])
    session.out.record({"topic": target.topic, "event_id": result.event_id, "duplicate": result.duplicate})
    if result.duplicate:
        session.out.line(f"{target.topic} already has or had {result.event_id}; nothing was added")
    else:
        session.out.line(f"dispatched {result.event_id} to {target.topic}{_due(event)}")


def _due(event: NewEvent) -> str:
    if isinstance(event.delay, timedelta):
        return f", due in {format_span(event.delay)}"
    if event.at is not None:
        return f", due {format_moment(event.at)}"
    return ""
