"""The commands, and the options that may stand before them."""

from importlib.metadata import version
from itertools import chain
from typing import Annotated

import typer

from duebus.cli import options
from duebus.cli.config import config
from duebus.cli.credentials import Credentials
from duebus.cli.dead import dead
from duebus.cli.dispatch import dispatch
from duebus.cli.event import event
from duebus.cli.events import events
from duebus.cli.groups import delete_group, delete_topic, pause, resume
from duebus.cli.health import health
from duebus.cli.serve import serve
from duebus.cli.session import Globals
from duebus.cli.stop import stop
from duebus.cli.subscribe import subscribe
from duebus.cli.token import token
from duebus.cli.topics import topic, topics
from duebus.cli.waiting import cancel, reschedule
from duebus.cli.worker import worker

_COMMANDS = (
    (serve, dispatch, subscribe, worker),
    (topics, topic, events, event, dead),
    (cancel, reschedule, pause, resume, config),
    (delete_group, delete_topic, health, stop),
)

app = typer.Typer(
    help="Dispatch events, now or for later, to workers in any language.",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

for command in chain(*_COMMANDS):
    app.command()(command)
app.add_typer(token, name="token")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"duebus {version('duebus')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    ctx: typer.Context,
    server: Annotated[
        str | None,
        typer.Option(
            "--server",
            metavar="HOST:PORT",
            envvar="DUEBUS_SERVER",
            parser=options.server_parser,
            help="The server to talk to. Default: 127.0.0.1:50051.",
        ),
    ] = None,
    timeout: options.Timeout = None,
    tls_ca: options.TlsCa = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    token_file: options.TokenFile = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dispatch events, now or for later, to workers in any language."""
    given = Credentials(tls_ca, tls_cert, tls_key, token_file)
    ctx.obj = Globals(server, timeout, given.over(Credentials.from_environment()))
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())
