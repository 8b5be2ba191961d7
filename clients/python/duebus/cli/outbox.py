"""`duebus outbox`."""

import logging
import signal
import sys
from typing import Annotated

import typer

from duebus.cli.explanations import explained
from duebus.cli.failures import CommandFailed
from duebus.cli.output import note
from duebus.cli.session import Session, connected
from duebus.client import Client

try:
    from sqlalchemy import MetaData, create_engine, inspect
    from sqlalchemy.exc import SQLAlchemyError

    from duebus.integrations.sqlalchemy import Outbox
except ModuleNotFoundError as error:
    if (error.name or "").startswith("duebus"):
        raise
    raise CommandFailed("outbox needs the extra sqlalchemy: pip install 'duebus[sqlalchemy]'") from error

outbox = typer.Typer(
    help="Dispatch what programs have written into the outbox of their database.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@outbox.callback()
def _root() -> None:
    """Dispatch what programs have written into the outbox of their database."""


@outbox.command()
@connected
def relay(
    session: Session,
    database: Annotated[
        str,
        typer.Option(
            metavar="URL",
            envvar="DUEBUS_OUTBOX_DATABASE",
            help="The database, as for SQLAlchemy: postgresql+psycopg://USER@HOST/NAME",
        ),
    ],
    table: Annotated[str, typer.Option(metavar="[SCHEMA.]NAME", help="The table of rows.")] = "duebus_outbox",
) -> None:
    """Dispatch the events of committed transactions.

    It runs until SIGTERM or Ctrl-C. Any number may run: events with the same key are sent in order, by one at a time.
    The tables are made by the program's migrations.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    schema, _, name = table.rpartition(".")
    rows = Outbox(MetaData(schema=schema or None), name=name)
    try:
        engine = create_engine(database)
        if engine.dialect.is_async:
            raise CommandFailed(f"--database: {engine.dialect.driver} is a driver for asyncio: use another one")
        known = inspect(engine).has_table(name, schema=schema or None)
    except (SQLAlchemyError, ModuleNotFoundError) as error:
        raise CommandFailed(f"--database: {' '.join(str(error).split())}") from error
    if not known:
        raise CommandFailed(f"--database: there is no table {table}: create it with your migrations")
    ending = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, ending)  # before threads begin, so that none of them gets one
    with (
        explained(session.server),
        Client(session.server, **session.security) as client,
        rows.relay(engine, client).running(),
    ):
        note(f"sending {table} to {session.server}; Ctrl-C ends")
        signal.sigwait(ending)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ending)  # a second one ends it at once
    engine.dispose()
