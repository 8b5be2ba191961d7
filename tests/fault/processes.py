"""Producers and workers as separate processes, each ended, paused and replaced by its process id."""

from __future__ import annotations

import os
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from support.forking import Forked

if TYPE_CHECKING:
    import subprocess

END_TIMEOUT_S = 40
TESTS = Path(__file__).parents[1]


@dataclass(frozen=True)
class ProcessCommand:
    """A command that is started repeatedly.

    Attributes:
        name: its processes and their journals have this name and a number.
        module: the Python module to run.
        arguments: the arguments after the journal's path.
    """

    name: str
    module: str
    arguments: tuple[str, ...]


class ReplaceableProcess:
    """A process that is started again after it was killed, each time with a new journal."""

    def __init__(self, directory: Path, command: ProcessCommand) -> None:
        self._directory = directory
        self._command = command
        self._number = 0
        self.process = self._start()

    @property
    def name(self) -> str:
        """The name of the running process and of its journal."""
        return f"{self._command.name}-{self._number}"

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(END_TIMEOUT_S)

    def replace(self) -> None:
        """Start a new process in place of one that was killed."""
        self._number += 1
        self.process = self._start()

    def terminate(self) -> int:
        """SIGTERM, and wait for the end; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(END_TIMEOUT_S)

    def close(self) -> None:
        """Kill it unless it has ended."""
        if self.process.poll() is None:
            self.kill()

    def _start(self) -> subprocess.Popen[bytes]:
        journal = self._directory / f"{self.name}.jsonl"
        with (self._directory / f"{self.name}.log").open("wb") as log:
            return Forked(
                [sys.executable, "-m", self._command.module, str(journal), *self._command.arguments],
                stdout=log,
                stderr=log,
                env={**os.environ, "PYTHONPATH": str(TESTS)},
                process_group=0,
            )
