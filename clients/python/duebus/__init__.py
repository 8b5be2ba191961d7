"""DueBus: dispatch events, now or for later, to workers in any language.

`Client` is for programs without asyncio, `duebus.aio.Client` for those with it; both have the same methods. `Worker`
runs handlers. Errors are those of `duebus.errors`.

Fork: a `Client` goes on working in a forked child, and in its parent, if at the moment of the fork it has no
subscription open and no thread is in a call. Everything else, `duebus.aio.Client` and `Worker` included, is to be made
in the process that uses it, after the fork.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duebus._api import *  # noqa: F403  # its __all__ is the list of the public names

    __version__: str


def __getattr__(name: str) -> Any:
    """Loads the client when a name of it is first used.

    The server, the command line and the pytest plugin are parts of this package too, and start faster without it.
    """
    if name == "__version__":
        version: str = import_module("importlib.metadata").version("duebus")
        return version
    api = import_module("duebus._api")
    if name != "__all__" and name not in api.__all__:
        raise AttributeError(f"module 'duebus' has no attribute {name!r}")
    return getattr(api, name)


def __dir__() -> list[str]:
    return [*globals(), *import_module("duebus._api").__all__]
