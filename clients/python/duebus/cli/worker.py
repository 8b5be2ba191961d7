"""`duebus worker`."""

import asyncio
import importlib
import logging
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from duebus.aio import Client
from duebus.cli.explanations import explained
from duebus.cli.failures import CommandFailed
from duebus.cli.output import note
from duebus.cli.session import Session, connected
from duebus.worker import Worker
from duebus.worker.signals import stop_on_signals


@connected
def worker(
    session: Session,
    target: Annotated[
        str,
        typer.Argument(metavar="MODULE:ATTRIBUTE", help="The Worker, for example shop.billing:worker."),
    ],
) -> None:
    """Run the handlers of a Worker.

    It runs until SIGTERM or Ctrl-C drains it.
    Modules are also found in the current directory. It waits for its server without a limit. --server and
    DUEBUS_SERVER override the server that the Worker names.
    """
    found = load_worker(target)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    with explained(session.server):
        asyncio.run(_serve(session, found, target))


def load_worker(target: str) -> Worker:
    """The Worker that `module:attribute` names.

    Raises:
        CommandFailed: there is none. An exception of the module itself is its cause.
    """
    module_name, _, attribute = target.partition(":")
    if not module_name or not attribute:
        raise CommandFailed(f"{target!r} is not MODULE:ATTRIBUTE, such as shop.billing:worker")
    sys.path.insert(0, str(Path.cwd()))
    try:
        found = importlib.import_module(module_name)
        for name in attribute.split("."):
            found = getattr(found, name)
    except Exception as error:
        raise CommandFailed(f"{target}: {_why(error)}") from error
    if not isinstance(found, Worker):
        raise CommandFailed(f"{target} is of type {type(found).__name__}, not a duebus.Worker")
    return found


def _why(error: Exception) -> str:
    """The error with its line in the module, because no traceback is printed."""
    traceback = error.__traceback__
    while traceback is not None and traceback.tb_next is not None:
        traceback = traceback.tb_next
    where = ""
    if traceback is not None and not _is_ours(traceback.tb_frame.f_code.co_filename):
        where = f" ({traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno})"
    return f"{type(error).__name__}: {error}{where}"


def _is_ours(filename: str) -> bool:
    return filename == __file__ or "importlib" in filename


async def _serve(session: Session, found: Worker, target: str) -> None:
    given, security = session.given.server, session.security
    if security and not given:
        raise CommandFailed("--server or DUEBUS_SERVER is required with TLS or a token: they are for that server")
    async with Client(given, timeout=session.timeout, **security) if given else nullcontext() as client:
        with stop_on_signals(found.request_stop, partial(found.request_stop, now=True)):
            announcing = asyncio.create_task(_announce(session, found, target))
            try:
                await found.serve(client)
            finally:
                announcing.cancel()


async def _announce(session: Session, found: Worker, target: str) -> None:
    await found.ready()
    if session.out.as_json:
        session.out.record({"ready": target})
    else:
        note(f"{target} is ready; Ctrl-C drains it")
