"""Explains failed calls to the user, in one line that says what to do."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from duebus.cli.failures import CommandFailed
from duebus.errors import DeadlineExceeded, DispatcherNotWorking, DueBusError, InternalError, Unavailable

__all__ = ["explain", "explained", "unreachable"]

# The path of a field in its request; the user knows the option or the line instead.
_PLACE = re.compile(r"(?:\Aschedule|\b(?:events\[\d+\]|config(?:\.retry_policy)?|filter))\.")


@contextmanager
def explained(server: str) -> Iterator[None]:
    """Turns an error of the client into a CommandFailed that says what to do."""
    try:
        yield
    except DueBusError as error:
        raise CommandFailed(explain(error, server)) from error


def explain(error: DueBusError, server: str) -> str:
    """The line for an error that came from a call to `server`."""
    match error:
        case DispatcherNotWorking():
            return f"the server at {server} is not working: {error}"
        case Unavailable():
            return unreachable(server, str(error))
        case DeadlineExceeded():
            return f"no answer from the server at {server} in time; --timeout sets how long to wait"
        case InternalError():
            return _with_log_id(error, server)
        case _:
            return _PLACE.sub("", str(error))


def unreachable(server: str, reason: str) -> str:
    """The line for a server that does not answer at all."""
    return f"can't reach a server at {server} ({reason}); 'duebus serve' starts one, --server names another"


def _with_log_id(error: InternalError, server: str) -> str:
    log_id = error.metadata.get("log_id")
    where = f"; its log has more under {log_id}" if log_id and log_id not in str(error) else ""
    return f"the server at {server} failed: {error}{where}"
