"""The options that several commands share, and their parsers."""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, NamedTuple

import typer

from duebus._core.enums import Engine, EventState
from duebus.cli.server_options import option_parser
from duebus.cli.spans import parse_moment, parse_span


class Attribute(NamedTuple):
    """One entry of an event's metadata."""

    name: str
    value: str


def _parse_attribute(text: str) -> Attribute:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return Attribute(name, value)


class State(StrEnum):
    """The states that events can be listed by."""

    SCHEDULED = EventState.SCHEDULED
    READY = EventState.READY
    LEASED = EventState.LEASED
    DEAD = EventState.DEAD
    BLOCKED = EventState.BLOCKED


span_parser = option_parser(parse_span)

Topic = Annotated[str, typer.Argument(metavar="TOPIC", help="The topic's name.", show_default=False)]
Group = Annotated[
    str,
    typer.Option("--group", "-g", metavar="NAME", help="The group of the topic. Default: default, or the only one."),
]
AnyGroup = Annotated[
    str, typer.Option("--group", "-g", metavar="NAME", help="Only in this group of the topic. Default: in every group.")
]
EventId = Annotated[str, typer.Argument(metavar="ID", help="The event's id.", show_default=False)]
EventIds = Annotated[list[str], typer.Argument(metavar="ID...", help="The events' ids.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many to list.")]
Newest = Annotated[bool, typer.Option("--newest", help="The latest first, instead of the earliest.")]
OfKey = Annotated[str, typer.Option("--key", metavar="KEY", help="Only events with this key.")]
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
        parser=option_parser(parse_moment),
        help="Deliver it at this time, in ISO 8601; local time if it has no offset.",
    ),
]
Attributes = Annotated[
    list[Attribute] | None,
    typer.Option(
        "--attribute",
        "-a",
        metavar="NAME=VALUE",
        parser=option_parser(_parse_attribute),
        help="Metadata for handlers; may be given several times.",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask first.")]
ToRedis = Annotated[
    str,
    typer.Option(
        "--to", metavar="URL", help="The URL of Redis, as --redis-url of serve. DUEBUS_REDIS_PASSWORD and so on apply."
    ),
]
Namespace = Annotated[
    str | None,
    typer.Option("--namespace", metavar="TEXT", help="As --namespace of serve.", show_default=False),
]

Priority = Annotated[
    int,
    typer.Option(
        "--priority",
        min=-86_400,
        max=86_400,
        metavar="SECONDS",
        help="Deliver it as if it had been due so many seconds earlier than it is.",
    ),
]
