"""Runs the command on a pseudo-terminal, with its output and keyboard."""

from __future__ import annotations

import os
import re
import select
import signal
import termios
import time
from typing import TYPE_CHECKING, Self

from support.cli import COMMAND, SIGNAL_TIMEOUT_S, environment
from support.forking import Forked

if TYPE_CHECKING:
    from types import TracebackType

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Terminal:
    """A command on a pseudo-terminal. As a context manager it kills the command at the end.

    Args:
        address: HOST:PORT of the server.
        arguments: of the command.
        columns: the width of the terminal.
        lines: its height.

    Attributes:
        seen: everything shown since ``wait_for`` returned, without colours and cursor movements.
    """

    def __init__(self, address: str, *arguments: str, columns: int = 160, lines: int = 24) -> None:
        self._ours, theirs = os.openpty()
        termios.tcsetwinsize(theirs, (lines, columns))
        self.process = Forked(
            [str(COMMAND), *arguments],
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            env=environment(DUEBUS_SERVER=address, TERM="xterm"),
            start_new_session=True,
        )
        os.close(theirs)
        self.seen = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(SIGNAL_TIMEOUT_S)
        os.close(self._ours)

    def wait_for(self, text: str) -> str:
        """Waits until the text is shown; returns what was shown before it since the last call."""
        deadline = time.monotonic() + SIGNAL_TIMEOUT_S
        while text not in self.seen:
            assert self._read(deadline), f"{text!r} was not shown, but {self.seen!r}"
        before, _, self.seen = self.seen.partition(text)
        return before

    def type(self, text: str) -> None:
        """Type at the keyboard."""
        os.write(self._ours, text.encode())

    def interrupt(self) -> None:
        """Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def end(self) -> int:
        """Waits for the command's end; its exit status. ``seen`` then has the rest."""
        deadline = time.monotonic() + SIGNAL_TIMEOUT_S
        while self._read(deadline):
            pass
        return self.process.wait(SIGNAL_TIMEOUT_S)

    def _read(self, deadline: float) -> bool:
        """Reads more output; False at its end, or when the deadline has passed."""
        ready, _, _ = select.select([self._ours], [], [], max(0.0, deadline - time.monotonic()))
        try:
            data = os.read(self._ours, 65536) if ready else b""
        except OSError:  # Linux's error when the other end is closed
            data = b""
        self.seen += _ESCAPES.sub("", data.decode(errors="replace")).replace("\r\n", "\n")
        return bool(data)
