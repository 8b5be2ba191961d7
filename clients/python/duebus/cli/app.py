"""The commands, and the options that may precede them."""

import gc
import os
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Annotated, Any, NamedTuple, cast

import typer
from typer._click.shell_completion import CompletionItem
from typer._completion_classes import completion_init

from duebus.cli import conversion, server_options
from duebus.cli.completion import COMPLETE
from duebus.cli.credentials import Credentials
from duebus.cli.failures import STATUS_INTERRUPTED, CommandFailed, PipeClosedError
from duebus.cli.output import silence
from duebus.cli.server_options import Globals

_STATUS_BROKEN_PIPE = 141
_SETTINGS = {"help_option_names": ["-h", "--help"]}
_PLAIN: dict[str, Any] = {"pretty_exceptions_enable": False, "rich_markup_mode": None}


class Command(NamedTuple):
    """The module and summary of a command. `duebus --help` loads none of the modules.

    Attributes:
        module: A module of `duebus.cli` that has a function, or a group of them, with the command's name.
        summary: The first line of the command's docstring.
    """

    module: str
    summary: str


COMMANDS = {
    "serve": Command("serve", "Run a server."),
    "ui": Command("ui", "Open the dashboard in the browser."),
    "dispatch": Command("dispatch", "Dispatch events, now or for later."),
    "subscribe": Command("subscribe", "Print events as they become due."),
    "worker": Command("worker", "Run the handlers of a Worker."),
    "topics": Command("topics", "List topics and the events in each group."),
    "topic": Command("topics", "Show a topic: settings, groups, rates and lateness, subscribers."),
    "events": Command("events", "List a topic's events by state."),
    "event": Command("event", "Show the history of an event."),
    "keys": Command("events", "List the keys that hold up events of a topic, the most blocked first."),
    "dead": Command("dead", "List a group's dead letters, make them ready again, or remove them."),
    "cancel": Command("waiting", "Remove scheduled, ready or blocked events."),
    "reschedule": Command("waiting", "Move the due time of events that are not leased, all of them or none."),
    "pause": Command("groups", "Deliver nothing to a group until it is resumed."),
    "resume": Command("groups", "End the pause of a group."),
    "config": Command("config", "Show or change the settings of a topic, or those of one of its groups."),
    "delete-group": Command("groups", "Remove a group and its copies of the events, including dead ones."),
    "delete-topic": Command("groups", "Remove a topic with its groups, settings and events, including dead ones."),
    "schedule": Command("schedule", "Dispatch an event again and again, by cron or at a fixed interval."),
    "outbox": Command("outbox", "Dispatch what programs have written into the outbox of their database."),
    "completion": Command("completion", "Print a script for the completion of commands and options in a shell."),
    "health": Command("health", "Check whether the server accepts new work. The status is 0 if it does."),
    "stop": Command("stop", "Drain engines, or the whole server, and stop."),
    "token": Command("token", "Create bearer tokens for a server."),
    "journal": Command("journal", "Inspect and repair the data directory of the local engine."),
    "migrate": Command("migrate", "Copy what a data directory holds to Redis: topics, groups, events and schedules."),
}


class _LoadedWhenUsed(Mapping[str, Any]):
    """The typer commands by name; each is loaded when it runs or its help is shown."""

    def __getitem__(self, name: str) -> Any:
        module = import_module(f"duebus.cli.{COMMANDS[name].module}")
        gc.freeze()
        gc.enable()
        found = getattr(module, name.replace("-", "_"))
        if not isinstance(found, typer.Typer):
            alone = typer.Typer(**_PLAIN, add_completion=False, context_settings=_SETTINGS)
            alone.command(cls=conversion.Command)(found)
            found = alone
        command = typer.main.get_command(found)
        command.name = name
        return command

    def __iter__(self) -> Iterator[str]:
        return iter(COMMANDS)

    def __len__(self) -> int:
        return len(COMMANDS)


class _Group(conversion.Group):
    def __init__(self, **given: Any) -> None:
        super().__init__(**given | {"commands": None})
        self.commands = cast("Any", _LoadedWhenUsed())

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002  # typer's signature
        """Writes the list of commands in the help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.summary) for name, each in COMMANDS.items()])

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        """The commands, or else the options, that begin with the text."""
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        return [
            CompletionItem(name, help=each.summary) for name, each in COMMANDS.items() if name.startswith(incomplete)
        ]


app = typer.Typer(cls=_Group, context_settings=_SETTINGS, add_completion=False, **_PLAIN)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version  # noqa: PLC0415  # slow to load

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
            parser=server_options.server_parser,
            help="The server to talk to. Default: 127.0.0.1:50051.",
        ),
    ] = None,
    timeout: server_options.Timeout = None,
    as_json: server_options.Json = False,
    tls_ca: server_options.TlsCa = None,
    tls_cert: server_options.TlsCert = None,
    tls_key: server_options.TlsKey = None,
    token_file: server_options.TokenFile = None,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Dispatch events, now or for later, to workers in any language."""
    given = Credentials(tls_ca, tls_cert, tls_key, token_file)
    ctx.obj = Globals(server, timeout, given.over(Credentials.from_environment()), as_json)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help())


def run() -> int:
    """Runs the command in the arguments. Returns the exit status."""
    if COMPLETE in os.environ:
        completion_init()  # typer then prints completions instead of running a command
    try:
        status = app(prog_name="duebus", standalone_mode=False)
        sys.stdout.flush()
    except CommandFailed as failure:
        return _complain(str(failure), failure.status)
    except typer.TyperException as error:
        return _complain(_misunderstanding(error), error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        return STATUS_INTERRUPTED
    except (PipeClosedError, BrokenPipeError):
        silence()
        return _STATUS_BROKEN_PIPE
    return status if isinstance(status, int) else 0


def _misunderstanding(error: typer.TyperException) -> str:
    # "Value error" is pydantic's prefix of a message; typer parses with it.
    message = error.format_message().replace("Value error, ", "").removesuffix(".")
    context = getattr(error, "ctx", None)
    return f"{message} (see '{context.command_path} --help')" if context else message


def _complain(message: str, status: int) -> int:
    print(f"duebus: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - the one line of a failure
    return status
