"""`duebus health`."""

from typing import Annotated

import typer

from duebus.cli.failures import CommandFailed
from duebus.cli.session import Session, connected
from duebus.client import Client
from duebus.errors import NotFound


@connected
def health(
    session: Session,
    service: Annotated[
        str, typer.Option("--service", metavar="NAME", help="Check only this service, such as duebus.v1.EventBus.")
    ] = "",
) -> None:
    """Check whether the server accepts new work. The status is 0 if it does.

    The command fails if the server is draining or can't be reached.
    """
    with session.client() as client:
        serving = _is_serving(session, client, service)
    if not serving:
        raise CommandFailed(f"the server at {session.server} is not serving: it is draining")
    session.out.record({"serving": True})
    session.out.line(f"the server at {session.server} is serving")


def _is_serving(session: Session, client: Client, service: str) -> bool:
    try:
        return client.is_serving(service)
    except NotFound as error:
        raise CommandFailed(f"the server at {session.server} has no service {service!r}") from error
