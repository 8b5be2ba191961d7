"""`duebus stop`."""

from datetime import timedelta
from typing import Annotated

import typer

from duebus._core.enums import Engine
from duebus.cli import options
from duebus.cli.confirm import confirm
from duebus.cli.records import record_of
from duebus.cli.session import Session, connected
from duebus.cli.spans import format_count
from duebus.client import Client
from duebus.errors import NoDispatcherSpecified, PermissionDenied


@connected
def stop(
    session: Session,
    engine: Annotated[
        list[Engine] | None,
        typer.Option(
            "--engine", metavar="ENGINE", help="local or redis; may be given twice. Default: the whole server."
        ),
    ] = None,
    drain_timeout: Annotated[
        timedelta | None,
        typer.Option(
            "--drain-timeout",
            metavar="DURATION",
            parser=options.span_parser,
            help="How long to wait for workers to settle their deliveries. Default: the server's --drain-timeout.",
        ),
    ] = None,
    yes: options.Yes = False,
) -> None:
    """Drain engines, or the whole server, and stop.

    The server ends when no engine is left. Asks first if the local engine holds events in memory: they would be lost.
    """
    with session.client() as client:
        held = "" if engine and Engine.LOCAL not in engine else _held_in_memory(client)
        if held and not yes:
            confirm(f"stop {session.server}, and lose {held} of the local engine")
        stopped = client.stop(tuple(engine or ()), drain_timeout, timeout=session.given.timeout)
    session.out.record({"engines": [record_of(each) for each in stopped]})
    for each in stopped:
        outcome = "lost with it" if held and each.engine is Engine.LOCAL else "stay in it"
        session.out.line(
            f"stopped {each.engine or 'an engine'}: {each.released} unsettled released, {each.queued} queued {outcome}"
        )


def _held_in_memory(client: Client) -> str:
    """The events that are lost with the engine, including dead letters; empty if there are none."""
    try:
        topics = list(client.admin.list_topics(engine=Engine.LOCAL, page_size=1000))
    except NoDispatcherSpecified:
        return ""
    except PermissionDenied:  # the right to stop a server does not include the right to inspect it
        return "all events"
    volatile = [each for each in topics if not each.durable]
    count = sum(each.queued + sum(group.dead for group in each.groups) for each in volatile)
    return format_count(count, "event") if count else ""
