"""`duebus stop`."""

from datetime import timedelta
from typing import Annotated

import typer

from duebus._core.enums import Engine
from duebus._core.model import StoppedEngine
from duebus.cli import options
from duebus.cli.records import record_of
from duebus.cli.session import Session, connected


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
            help="How long to wait for workers to settle what they hold. Default: as the server was told.",
        ),
    ] = None,
) -> None:
    """Drain engines, or the whole server, and stop.

    The server ends when no engine is left.
    """
    with session.client() as client:
        stopped = client.stop(tuple(engine or ()), drain_timeout, timeout=session.given.timeout)
    session.out.record({"engines": [record_of(each) for each in stopped]})
    for each in stopped:
        session.out.line(f"stopped {each.engine or 'an engine'}: {_account(each)}")


def _account(stopped: StoppedEngine) -> str:
    fate = "went with it" if stopped.engine is Engine.LOCAL else "stay in it"
    return f"{stopped.released} unsettled given back, {stopped.queued} queued {fate}"
