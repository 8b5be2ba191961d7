"""DueBus: dispatch events, now or for later, to workers in any language.

`Client` is for programs without asyncio, `duebus.aio.Client` for those with it; both have the same methods. `Worker`
runs handlers. `duebus.errors` has the errors.

Fork: a `Client` keeps working in the parent and in a forked child, provided that it has no open subscription and no
thread is in a call at the moment of the fork. Create everything else, including `duebus.aio.Client` and `Worker`, in
the process that uses it, after the fork.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from duebus._api import *  # noqa: F403  # its __all__ is the list of the public names

    __version__: str


def __getattr__(name: str) -> Any:
    """Loads the client when one of its names is first used.

    The server, the command line and the pytest plugin are also part of this package, and start faster without it.
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
