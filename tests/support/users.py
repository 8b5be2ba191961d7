"""Runs programs as another user, where the tests run as root."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

NOBODY = 65534
"""The id of the user nobody, and of its group."""


def as_user(user: int, *command: str | Path) -> list[str]:
    """The command, and for root one before it that changes to the user and the group of this id.

    Popen's ``user`` would fork with the handlers that gRPC registers. In a process whose gRPC is in use they can crash
    the child before it runs the command. Without ``user``, Popen calls vfork, which runs no handlers.
    """
    change = () if os.geteuid() else ("setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", "--")
    return [*change, *map(str, command)]


def give_to(user: int, directory: Path) -> None:
    """Make the user that ``as_user`` changes to the owner of a directory."""
    if not os.geteuid():
        os.chown(directory, user, user)
