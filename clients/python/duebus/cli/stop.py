"""`duebus stop`."""

from datetime import timedelta
from typing import Annotated

import typer

from duebus._core.enums import Engine
from duebus._core.model import StoppedEngine
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

    The server ends when no engine is left. Asks first if the local engine holds events, because they would be lost.
    """
    with session.client() as client:
        held = "" if yes or (engine and Engine.LOCAL not in engine) else _held_by_local(client)
        if held:
            confirm(f"stop {session.server}, and lose {held} of the local engine")
        stopped = client.stop(tuple(engine or ()), drain_timeout, timeout=session.given.timeout)
    session.out.record({"engines": [record_of(each) for each in stopped]})
    for each in stopped:
        session.out.line(f"stopped {each.engine or 'an engine'}: {_account(each)}")


def _held_by_local(client: Client) -> str:
    """The events that are lost with the engine, including dead letters; empty if there are none."""
    try:
        topics = list(client.admin.list_topics(engine=Engine.LOCAL, page_size=1000))
    except NoDispatcherSpecified:
        return ""
    except PermissionDenied:  # the right to stop a server does not include the right to inspect it
        return "all events"
    count = sum(each.queued + sum(group.dead for group in each.groups) for each in topics)
    return format_count(count, "event") if count else ""


def _account(stopped: StoppedEngine) -> str:
    fate = "lost with it" if stopped.engine is Engine.LOCAL else "stay in it"
    return f"{stopped.released} unsettled released, {stopped.queued} queued {fate}"
