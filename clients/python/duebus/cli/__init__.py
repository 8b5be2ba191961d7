"""The command line `duebus`."""

import sys

import typer

from duebus.cli.app import app
from duebus.cli.failures import STATUS_INTERRUPTED, CommandFailed
from duebus.cli.output import PipeClosedError, silence

__all__ = ["main"]

_STATUS_BROKEN_PIPE = 141


def main() -> None:
    """Runs the command that the arguments name and ends the process.

    The status is 0 when the command did what it was asked, 1 when it failed, 2 when it was not understood, and as a
    shell would have it after a Ctrl-C (130) or a closed pipe (141). A failure is one line on standard error.
    """
    sys.exit(_run())


def _run() -> int:
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
    # "Value error": how pydantic, which typer parses with, introduces a message.
    message = error.format_message().replace("Value error, ", "")
    context = getattr(error, "ctx", None)
    return f"{message} (see '{context.command_path} --help')" if context else message


def _complain(message: str, status: int) -> int:
    print(f"duebus: {' '.join(message.split())}", file=sys.stderr)  # noqa: T201 - the one line of a failure
    return status
