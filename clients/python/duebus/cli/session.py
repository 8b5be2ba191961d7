"""The session of a command that talks to a server."""

import functools
import inspect
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import typer

from duebus.cli import server_options
from duebus.cli.credentials import Credentials
from duebus.cli.explanations import explained, unreachable
from duebus.cli.failures import CommandFailed
from duebus.cli.output import Output
from duebus.cli.server_options import Globals
from duebus.client import Client

DEFAULT_SERVER = "127.0.0.1:50051"
DEFAULT_TIMEOUT = timedelta(seconds=30)

_P = ParamSpec("_P")


@dataclass(frozen=True, slots=True)
class Session:
    """The server and the output of a command.

    Attributes:
        given: The options for the server and the timeout.
        out: Standard output.
    """

    given: Globals
    out: Output

    @property
    def server(self) -> str:
        """HOST:PORT."""
        return self.given.server or DEFAULT_SERVER

    @property
    def timeout(self) -> timedelta:
        """How long a call may take."""
        return self.given.timeout or DEFAULT_TIMEOUT

    @property
    def security(self) -> dict[str, Any]:
        """The client arguments for TLS and tokens.

        Raises:
            CommandFailed: a file can't be read.
        """
        return self.given.credentials.read()

    @contextmanager
    def client(self) -> Iterator[Client]:
        """A client for the server. Its errors become a CommandFailed.

        Raises:
            CommandFailed: nothing listens at `server`, or a call failed.
        """
        self.probe()
        with explained(self.server), Client(self.server, timeout=self.timeout, **self.security) as client:
            yield client

    def probe(self) -> None:
        """Fails at once if nothing listens at `server`; a client would retry until its timeout.

        Raises:
            CommandFailed: the connection was refused, or there is no such host.
        """
        host, _, port = self.server.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), self.timeout.total_seconds()).close()
        except OSError as error:
            raise CommandFailed(unreachable(self.server, (error.strerror or str(error)).lower())) from error


def connected(command: Callable[Concatenate[Session, _P], None]) -> Callable[..., None]:
    """Adds --server, --json and so on to a command, which receives them as a Session in its first argument."""

    @functools.wraps(command)
    def run(
        *args: Any,
        ctx: typer.Context,
        server: str | None,
        timeout: timedelta | None,
        json: bool,
        tls_ca: Path | None,
        tls_cert: Path | None,
        tls_key: Path | None,
        token_file: Path | None,
        **kwargs: Any,
    ) -> None:
        before = ctx.find_object(Globals) or Globals()
        credentials = Credentials(tls_ca, tls_cert, tls_key, token_file).over(before.credentials)
        given = Globals(server or before.server, timeout or before.timeout, credentials)
        command(Session(given, Output(as_json=json or before.as_json)), *args, **kwargs)

    own = list(inspect.signature(command).parameters.values())[1:]
    run.__signature__ = inspect.Signature([*own, *_SHARED])  # type: ignore[attr-defined] # typer reads it
    return run


def _shared(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


_SHARED = (
    _shared("ctx", typer.Context),
    _shared("server", server_options.Server, None),
    _shared("timeout", server_options.Timeout, None),
    _shared("json", server_options.Json, False),
    _shared("tls_ca", server_options.TlsCa, None),
    _shared("tls_cert", server_options.TlsCert, None),
    _shared("tls_key", server_options.TlsKey, None),
    _shared("token_file", server_options.TokenFile, None),
)
