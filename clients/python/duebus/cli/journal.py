"""`duebus journal`."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from duebus.cli import options, server_options
from duebus.cli.confirm import confirm
from duebus.cli.failures import CommandFailed
from duebus.cli.output import Output
from duebus.cli.server_options import Globals

try:
    from duebus_server.domain.errors import DueBusError
    from duebus_server.engine.local.journal.checking import Check
    from duebus_server.engine.local.journal.checking import repair as repair_directory
    from duebus_server.engine.local.journal.checking import verify as verify_directory
    from duebus_server.engine.local.journal.reading import BadPart
except ModuleNotFoundError as error:
    if (error.name or "").startswith("duebus"):
        raise
    raise CommandFailed("journal needs the extra server: pip install 'duebus[server]'") from error

journal = typer.Typer(
    help="Check and repair the data directory of the engine local.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Directory = Annotated[Path, typer.Argument(metavar="DIR", help="The directory that the server has as --data-dir.")]


@journal.callback()
def _root() -> None:
    """Check and repair the data directory of the engine local."""


@journal.command()
def verify(ctx: typer.Context, directory: Directory, *, json: server_options.Json = False) -> None:
    """Read every record, and say what can't be read. Changes nothing.

    Fails if something is damaged. What a crash has torn off the end was never answered, and the next start cuts it.
    """
    check = _run(verify_directory, directory)
    out = Output(as_json=json or ctx.ensure_object(Globals).as_json)
    _show(out, check)
    if check.damaged:
        raise CommandFailed(f"{directory} is damaged; 'duebus journal repair {directory}' gives up what can't be read")


@journal.command()
def repair(
    ctx: typer.Context, directory: Directory, *, yes: options.Yes = False, json: server_options.Json = False
) -> None:
    """Give up what can't be read, so that a server can start. Asks first.

    Events that were dispatched in a part that is given up are lost, and those that were acked in one come again.
    """
    check = _run(verify_directory, directory)
    bad = check.damaged + check.torn
    if bad and not yes:
        confirm(f"give up {sum(part.size for part in bad)} bytes in {len(bad)} places of {directory}")
    if bad:
        check = _run(repair_directory, directory)
    _show(Output(as_json=json or ctx.ensure_object(Globals).as_json), check, "given up: " if bad else "")


def _run(work: Callable[[Path], Check], directory: Path) -> Check:
    try:
        return work(directory)
    except DueBusError as error:
        raise CommandFailed(str(error)) from error


def _show(out: Output, check: Check, fate: str = "") -> None:
    out.record(
        {
            "segments": check.segments,
            "records": check.records,
            "torn": [_place(part) for part in check.torn],
            "damaged": [_place(part) for part in check.damaged],
        }
    )
    out.line(f"{check.segments} segments, {check.records} records")
    for part in check.torn:
        out.line(f"{fate}torn by a crash: {part}")
    for part in check.damaged:
        out.line(f"{fate}damaged: {part}")


def _place(part: BadPart) -> dict[str, object]:
    return {"file": str(part.path), "offset": part.offset, "bytes": part.size}
