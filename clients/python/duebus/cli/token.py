"""`duebus token`."""

import os
from pathlib import Path
from typing import Annotated

import typer

from duebus.cli import server_options
from duebus.cli.failures import CommandFailed
from duebus.cli.output import Output
from duebus.cli.server_options import Globals

token = typer.Typer(
    help="Make bearer tokens for a server.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@token.callback()
def _root() -> None:
    """Make bearer tokens for a server."""


@token.command()
def new(
    ctx: typer.Context,
    identity: Annotated[
        str, typer.Argument(metavar="IDENTITY", help="Who is to have the token, as rules and logs call it.")
    ],
    *,
    tokens_file: Annotated[
        Path | None,
        typer.Option("--tokens-file", metavar="FILE", help="Add the line to this file, and print the token alone."),
    ] = None,
    json: server_options.Json = False,
) -> None:
    """Make a token and the line for the server's --tokens-file.

    The token is shown this once: the file has only its digest, from which nobody can tell the token.
    """
    # Here, so that the client does without the server's code.
    from duebus_server.security.token_file import IDENTITY, IDENTITY_RULE, file_line, new_token  # noqa: PLC0415

    if not IDENTITY.fullmatch(identity):
        raise typer.BadParameter(IDENTITY_RULE, param_hint="IDENTITY")
    made = new_token()
    line = file_line(identity, made)
    if tokens_file is not None:
        _append(tokens_file, line)
    out = Output(as_json=json or ctx.ensure_object(Globals).as_json)
    out.record({"identity": identity, "token": made, "line": line})
    if tokens_file is not None:
        out.line(made)
    else:
        out.line(f"token: {made}")
        out.line(f"line for --tokens-file: {line}")


def _append(file: Path, line: str) -> None:
    """One line more; a new file is for its owner alone."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "r+", encoding="utf-8") as opened:  # noqa: PTH123 - of a descriptor
            text = opened.read()
            opened.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n")
    except OSError as error:
        raise CommandFailed(f"{file}: {(error.strerror or str(error)).lower()}") from error
