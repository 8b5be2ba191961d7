"""The server a command talks to, and how: options before or after the command's name."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from duebus.cli.credentials import Credentials
from duebus.cli.spans import parse_span

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Globals:
    """The options before the command's name; None for those that are missing."""

    server: str | None = None
    timeout: timedelta | None = None
    credentials: Credentials = field(default_factory=Credentials)
    as_json: bool = False


def option_parser(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Raises BadParameter, the only error whose reason typer keeps; typer adds the option's name."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed


def _parse_server(text: str) -> str:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:  # noqa: PLR2004 - the largest port
        raise ValueError(f"{text!r} is not HOST:PORT")
    return text


def _parse_timeout(text: str) -> timedelta:
    timeout = parse_span(text)
    if not timeout:
        raise ValueError("must be longer than 0s")
    return timeout


server_parser = option_parser(_parse_server)

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="HOST:PORT",
        parser=server_parser,
        help="The server to talk to.",
        show_default=False,
    ),
]
Timeout = Annotated[
    timedelta | None,
    typer.Option(
        "--timeout",
        metavar="DURATION",
        parser=option_parser(_parse_timeout),
        help="How long a call may take. Default: 30s.",
    ),
]


def _file(name: str, help_text: str) -> Any:
    return typer.Option(name, metavar="FILE", help=help_text, show_default=False)


TlsCa = Annotated[
    Path | None,
    _file("--tls-ca", "Use TLS, and trust the authorities in this file. Also DUEBUS_TLS_CA."),
]
TlsCert = Annotated[Path | None, _file("--tls-cert", "The client's certificate. Also DUEBUS_CLIENT_CERT.")]
TlsKey = Annotated[Path | None, _file("--tls-key", "The key of that certificate. Also DUEBUS_CLIENT_KEY.")]
TokenFile = Annotated[
    Path | None, _file("--token-file", "A file with a bearer token. DUEBUS_TOKEN has the token itself.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]
