"""`duebus ui`."""

import urllib.error
import urllib.request
import webbrowser
from typing import Annotated

import typer

from duebus.cli.failures import CommandFailed

_DEFAULT = "http://127.0.0.1:8080"
_TIMEOUT_S = 5.0


def ui(
    url: Annotated[
        str,
        typer.Argument(metavar="[URL]", envvar="DUEBUS_UI", help="Where the server serves HTTP."),
    ] = _DEFAULT,
) -> None:
    """Open the dashboard in the browser.

    A server has one where it serves HTTP: see --web-listen of duebus serve. On a machine without a browser, the
    command only prints the address.
    """
    if not url.startswith(("http://", "https://")):
        raise CommandFailed(f"{url} is not a URL such as {_DEFAULT}")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S):  # noqa: S310  # it is one of HTTP
            pass
    except urllib.error.HTTPError as error:
        raise CommandFailed(f"there is no dashboard at {url}: the answer is {error.code}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        why = getattr(reason, "strerror", None) or reason
        raise CommandFailed(f"there is no dashboard at {url}: {why}") from error
    typer.echo(url)
    webbrowser.open(url)
