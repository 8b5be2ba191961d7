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
    help="Create bearer tokens for a server.",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@token.callback()
def _root() -> None:
    """Create bearer tokens for a server."""


@token.command()
def new(
    ctx: typer.Context,
    identity: Annotated[
        str, typer.Argument(metavar="IDENTITY", help="The owner of the token, as named in rules and logs.")
    ],
    *,
    tokens_file: Annotated[
        Path | None,
        typer.Option("--tokens-file", metavar="FILE", help="Append the line to this file, and print only the token."),
    ] = None,
    json: server_options.Json = False,
) -> None:
    """Create a token and the line for the server's --tokens-file.

    The token is shown only once: the file has its digest, from which the token can't be recovered.
    """
    # Imported here, so that the client does not need the server's code.
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
    """Appends a line; only the owner may read a new file."""
    try:
        descriptor = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        with open(descriptor, "r+", encoding="utf-8") as opened:  # noqa: PTH123 - a descriptor
            text = opened.read()
            opened.write(f"{'' if not text or text.endswith(chr(10)) else chr(10)}{line}\n")
    except OSError as error:
        raise CommandFailed(f"{file}: {(error.strerror or str(error)).lower()}") from error
