"""`duebus serve`."""

import json
import re
import sys
from collections.abc import Callable
from contextlib import nullcontext, redirect_stdout
from datetime import timedelta
from enum import StrEnum
from io import TextIOBase
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from duebus._core.enums import Engine
from duebus.cli import options
from duebus.cli.failures import CommandFailed

_READY = re.compile(r"duebus ready on (\S+) engines=(\S+)")


class LogFormat(StrEnum):
    """How the server writes its log."""

    JSON = "json"
    CONSOLE = "console"


def _duration(help_text: str, default: str) -> Any:
    return typer.Option(metavar="DURATION", parser=options.span_parser, help=f"{help_text} Default: {default}.")


def _number(help_text: str, default: str) -> Any:
    return typer.Option(metavar="N", min=0, help=f"{help_text} Default: {default}.")


def _file(help_text: str) -> Any:
    return typer.Option(metavar="FILE", help=help_text)


def _text(metavar: str, help_text: str, default: str) -> Any:
    return typer.Option(metavar=metavar, help=f"{help_text} Default: {default}.")


def serve(
    *,
    listen: Annotated[str | None, _text("HOST:PORT", "Where to listen; port 0 picks one.", "127.0.0.1:50051")] = None,
    engine: Annotated[
        list[Engine] | None,
        typer.Option(
            metavar="ENGINE", help="local or redis; may be given twice, then the first is the default. Default: local."
        ),
    ] = None,
    redis_url: Annotated[str | None, _text("URL", "Redis of the redis engine.", "redis://127.0.0.1:6379/0")] = None,
    redis_username: Annotated[str | None, _text("NAME", "Who the server is to Redis.", "as in --redis-url")] = None,
    redis_password: Annotated[
        str | None, _text("TEXT", "Better in DUEBUS_REDIS_PASSWORD or a file: others see flags.", "as in --redis-url")
    ] = None,
    redis_password_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A file with the password for Redis and nothing else.")
    ] = None,
    min_replicas_ack: Annotated[
        int | None, _number("A dispatch is answered when so many replicas of Redis have it too.", "0")
    ] = None,
    namespace: Annotated[str | None, _text("NAME", "The prefix of all keys in Redis.", "duebus")] = None,
    processes: Annotated[int | None, _number("Server processes; the local engine allows one.", "1")] = None,
    max_queued: Annotated[
        int | None, _number("Events a topic may hold; 0 is unlimited.", "100000, on redis unlimited")
    ] = None,
    max_retries: Annotated[int | None, _number("Retries of an event before it is dead.", "3")] = None,
    backoff_initial: Annotated[timedelta | None, _duration("The first pause before a retry.", "500ms")] = None,
    backoff_max: Annotated[timedelta | None, _duration("The longest pause before a retry.", "5m")] = None,
    lease: Annotated[timedelta | None, _duration("How long a delivery is leased.", "30s")] = None,
    disconnect_grace: Annotated[
        timedelta | None, _duration("When the leases of a broken stream run out.", "1s")
    ] = None,
    dedupe_window: Annotated[timedelta | None, _duration("How long ids are remembered.", "10m")] = None,
    dead_letter_retention: Annotated[
        timedelta | None, _duration("How long dead letters are kept; 0s is until purged.", "0s")
    ] = None,
    sweep_interval: Annotated[timedelta | None, _duration("The safety net for expired leases.", "1s")] = None,
    drain_timeout: Annotated[timedelta | None, _duration("How long a stop waits for settles.", "30s")] = None,
    tls_cert: Annotated[Path | None, _file("The server's certificate in PEM: serve TLS.")] = None,
    tls_key: Annotated[Path | None, _file("The key of that certificate.")] = None,
    tls_client_ca: Annotated[
        Path | None, _file("Clients must show a certificate that one of these authorities has signed.")
    ] = None,
    tokens_file: Annotated[
        Path | None, _file("Who may connect: IDENTITY sha256:HEX, as 'duebus token new' writes it.")
    ] = None,
    jwks: Annotated[
        str | None, typer.Option(metavar="FILE|URL", help="The public keys of those who sign JSON Web Tokens.")
    ] = None,
    jwt_issuer: Annotated[str | None, typer.Option(metavar="TEXT", help="JSON Web Tokens must come from it.")] = None,
    jwt_audience: Annotated[
        str | None, typer.Option(metavar="TEXT", help="JSON Web Tokens must be meant for it.")
    ] = None,
    acl_file: Annotated[Path | None, _file("Rules in TOML: who may do what on which topics.")] = None,
    audit_log: Annotated[Path | None, _file("Record admin actions there, not in the log.")] = None,
    max_streams_per_connection: Annotated[int | None, _number("Subscriptions on one connection.", "1000")] = None,
    max_message_size: Annotated[str | None, _text("SIZE", "The largest request.", "16MiB")] = None,
    health_listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The health service alone, without TLS.")
    ] = None,
    http_listen: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="/healthz, /readyz and /metrics over HTTP.")
    ] = None,
    metrics_topics: Annotated[int | None, _number("So many topics have metrics of their own.", "200")] = None,
    log_format: Annotated[
        LogFormat | None,
        typer.Option(metavar="FORMAT", help="The log on standard error: json or console. Default: console."),
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A TOML file with any of these settings, written with _ for -.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the line that says it is ready as JSON.")] = False,
) -> None:
    """Run a server.

    It goes on until SIGTERM, Ctrl-C or a stop drains it. What is not given comes from the environment
    (DUEBUS_LISTEN and so on), then from the file, then from the defaults.

    It prints one line when it serves: "duebus ready on HOST:PORT engines=...".
    """
    flags = {name: _flag(value) for name, value in locals().items() if name != "as_json" and value not in (None, [])}
    with redirect_stdout(_ReadyAsJson(sys.stdout)) if as_json else nullcontext():
        status = _server()(flags)
    raise typer.Exit(status)


def _flag(value: Any) -> Any:
    """As the server's settings take it: durations in microseconds."""
    return value // timedelta(microseconds=1) if isinstance(value, timedelta) else value


def _server() -> Callable[[dict[str, Any]], int]:
    # Here, so that the client does without the server's code.
    try:
        from duebus_server.__main__ import run  # noqa: PLC0415
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("duebus"):
            raise
        raise CommandFailed("serve needs the extra server: pip install 'duebus[server]'") from error
    return run


class _ReadyAsJson(TextIOBase):
    """Standard output, with the line that says the server is ready as JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        ready = _READY.match(text)
        if ready:
            text = json.dumps({"ready": ready[1], "engines": ready[2].split(",")})
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
