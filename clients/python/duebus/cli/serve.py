"""`duebus serve`."""

import inspect
import json
import re
import sys
from contextlib import nullcontext, redirect_stdout
from io import TextIOBase
from typing import Annotated, Any, TextIO

import typer

from duebus.cli.failures import STATUS_MISUNDERSTOOD, CommandFailed

try:
    from duebus_server import config
except ModuleNotFoundError as error:
    if (error.name or "").startswith("duebus"):
        raise
    raise CommandFailed("serve needs the extra server: pip install 'duebus[server]'") from error

_READY = re.compile(r"duebus ready on (\S+) engines=(\S+)(?: web=(\S+))?")


def serve(
    ctx: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print the ready line as JSON.")] = False,
    test_clock: Annotated[
        bool,
        typer.Option(
            "--test-clock",
            help="For tests: add the service TestClock, which moves the server's time. Only in memory.",
        ),
    ] = False,
    **flags: Any,
) -> None:
    """Run a server.

    It runs until SIGTERM, Ctrl-C or a stop drains it. Settings without a flag come from the environment (DUEBUS_LISTEN
    and so on), then from the file, then from the defaults.

    It prints one line once it serves: "duebus ready on HOST:PORT engines=...". While Redis is unavailable, it waits.
    """
    given = {name: value for name, value in flags.items() if value not in (None, [])}
    try:
        settings = config.load_settings(given)
    except config.SettingsError as error:
        if error.setting in given:
            raise typer.BadParameter(error.reason, param_hint=f"'{_flag(error.setting)}'") from error
        raise CommandFailed(str(error), status=STATUS_MISUNDERSTOOD) from error
    from duebus_server.__main__ import run  # noqa: PLC0415  # loads the whole server, which --help does not need

    with redirect_stdout(_ReadyAsJson(sys.stdout)) if as_json or ctx.obj.as_json else nullcontext():
        status = run(settings, test_clock=test_clock)
    raise typer.Exit(status)


def _flag(setting: str) -> str:
    return f"--{setting.replace('_', '-')}"


def _option(setting: str) -> inspect.Parameter:
    """The flag of a setting. Its text is passed on to the server's settings."""
    field, default = config.Settings.model_fields[setting], config.default(setting)
    said = f"{field.description} Default: {default}." if default else field.description
    metavar = config.notation(setting).metavar.replace(", ", "|").replace(" or ", "|")
    annotation = list[str] | None if setting == "engine" else str | None
    return inspect.Parameter(
        setting,
        inspect.Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[annotation, typer.Option(_flag(setting), metavar=metavar, help=said)],
    )


# The signature that typer reads: one parameter for each setting.
serve.__signature__ = inspect.Signature(  # type: ignore[attr-defined]  # functions are typed without it
    [
        *list(inspect.signature(serve).parameters.values())[:-1],
        *map(_option, config.Settings.model_fields),
    ]
)


class _ReadyAsJson(TextIOBase):
    """Standard output that prints the ready line as JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        ready = _READY.match(text)
        if ready:
            record = {"ready": ready[1], "engines": ready[2].split(","), **({"web": ready[3]} if ready[3] else {})}
            text = json.dumps(record)
        return self._stream.write(text)

    def flush(self) -> None:
        self._stream.flush()
