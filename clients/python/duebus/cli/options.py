"""The options that several commands share, and how their text becomes a value."""

from collections.abc import Callable
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypeVar

import typer

from duebus import Engine, EventState
from duebus.cli.spans import parse_moment, parse_span

_T = TypeVar("_T")


def _option_parser(parse: Callable[[str], _T]) -> Callable[[str], _T]:
    """Typer names the option, and keeps the reason only of a BadParameter."""

    def parsed(text: str) -> _T:
        try:
            return parse(text)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    return parsed


class Attribute(NamedTuple):
    """One entry of an event's metadata."""

    name: str
    value: str


def _parse_attribute(text: str) -> Attribute:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return Attribute(name, value)


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


class State(StrEnum):
    """The states that events can be listed by."""

    SCHEDULED = EventState.SCHEDULED
    READY = EventState.READY
    LEASED = EventState.LEASED
    DEAD = EventState.DEAD


span_parser = _option_parser(parse_span)
server_parser = _option_parser(_parse_server)

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.", show_default=False)]
Group = Annotated[str, typer.Option("--group", "-g", metavar="NAME", help="The group of the topic. Default: default.")]
AnyGroup = Annotated[
    str, typer.Option("--group", "-g", metavar="NAME", help="Only in this group of the topic. Default: in every group.")
]
EventId = Annotated[str, typer.Argument(metavar="ID", help="The event's id.", show_default=False)]
EventIds = Annotated[list[str], typer.Argument(metavar="ID...", help="The events' ids.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="At most so many of each state.")]
Newest = Annotated[
    bool, typer.Option("--newest", help="Latest first: by due time, lease expiry (leased) or death (dead).")
]
OneEngine = Annotated[
    Engine | None,
    typer.Option("--engine", metavar="ENGINE", help="local or redis. Default: the server's default engine."),
]
Delay = Annotated[
    timedelta | None,
    typer.Option(
        "--delay", metavar="DURATION", parser=span_parser, help="Deliver it this much later: 500ms, 30s, 5m, 2h, 1d."
    ),
]
At = Annotated[
    datetime | None,
    typer.Option(
        "--at",
        metavar="TIME",
        parser=_option_parser(parse_moment),
        help="Deliver it at this moment, in ISO 8601; without an offset it is local time.",
    ),
]
Attributes = Annotated[
    list[Attribute] | None,
    typer.Option(
        "--attribute",
        "-a",
        metavar="NAME=VALUE",
        parser=_option_parser(_parse_attribute),
        help="Metadata for handlers; may be given several times.",
    ),
]
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
        parser=_option_parser(_parse_timeout),
        help="How long a call may take. Default: 30s.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]


def _file(name: str, help_text: str) -> Any:
    return typer.Option(name, metavar="FILE", help=help_text, show_default=False)


TlsCa = Annotated[
    Path | None,
    _file("--tls-ca", "Talk TLS, and trust the authorities in this file. DUEBUS_TLS_CA and so on say it too."),
]
TlsCert = Annotated[Path | None, _file("--tls-cert", "Show the server this certificate.")]
TlsKey = Annotated[Path | None, _file("--tls-key", "The key of that certificate.")]
TokenFile = Annotated[
    Path | None, _file("--token-file", "A file with a bearer token; or put the token itself into DUEBUS_TOKEN.")
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
