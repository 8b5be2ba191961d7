"""The installed command, run in a separate process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from support.forking import Forked

if TYPE_CHECKING:
    from types import TracebackType

COMMAND = Path(sys.executable).parent / "duebus"
SIGNAL_TIMEOUT_S = 180
"""How long a command may take to end."""


def environment(**more: str) -> dict[str, str]:
    """The tests' environment, without variables that change the command's behaviour, and with unbuffered output."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith(("DUEBUS_", "COLUMNS", "LINES"))}
    return {**plain, "PYTHONUNBUFFERED": "1", "NO_COLOR": "1", **more}


class Result:
    """How a command ended.

    Attributes:
        status: its exit status.
        out: its standard output.
        err: its standard error.
    """

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status = status
        self.out = out
        self.err = err

    @property
    def records(self) -> list[Any]:
        """The JSON lines of standard output."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def record(self) -> Any:
        """The one JSON line of standard output."""
        (record,) = self.records
        return record

    @property
    def complaint(self) -> str:
        """The single line on standard error of a command that failed without other output."""
        assert self.status != 0, self
        assert self.out == "", self
        (line,) = self.err.splitlines()
        assert line.startswith("duebus: "), self
        return line.removeprefix("duebus: ")

    def __repr__(self) -> str:
        return f"<status {self.status}\nout: {self.out}\nerr: {self.err}>"


class Running:
    """A running command. As a context manager it kills the command at the end."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.communicate()

    def line(self) -> str:
        """The next line of standard output; waits for it."""
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def record(self) -> Any:
        """The next line of standard output, as JSON."""
        return json.loads(self.line())

    def wait_for(self, text: str) -> None:
        """Returns when a line of standard error has the text."""
        assert self.process.stderr is not None
        seen = []
        for line in self.process.stderr:
            if text in line:
                return
            seen.append(line)
        raise AssertionError(f"{text!r} never came, but {seen}")

    def end(self, number: int = signal.SIGINT) -> Result:
        """Ctrl-C, or another signal."""
        self.process.send_signal(number)
        return self.result()

    def result(self) -> Result:
        """Wait for its end. The result has the output that was not read yet."""
        out, err = self.process.communicate(timeout=SIGNAL_TIMEOUT_S)
        return Result(self.process.returncode, out, err)


class Cli:
    """Runs the command against a server.

    Args:
        address: HOST:PORT of the server; None leaves the command its default.
        directory: the working directory.
        popen: ``subprocess.Popen`` where the start of the interpreter is under test.
    """

    def __init__(
        self,
        address: str | None = None,
        directory: Path | None = None,
        popen: type[subprocess.Popen[Any]] = Forked,
    ) -> None:
        self._env = environment(**({} if address is None else {"DUEBUS_SERVER": address}))
        self._directory = directory
        self._popen = popen

    def start(self, *arguments: str, **env: str) -> Running:
        return Running(
            self._popen(
                [str(COMMAND), *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                env={**self._env, **env},
                cwd=self._directory,
                process_group=0,
            )
        )

    def run(self, *arguments: str, stdin: str = "", **env: str) -> Result:
        """Runs a command to its end."""
        with self.start(*arguments, **env) as running:
            out, err = running.process.communicate(stdin, timeout=SIGNAL_TIMEOUT_S)
            return Result(running.process.returncode, out, err)

    def ok(self, *arguments: str, stdin: str = "", **env: str) -> Result:
        """Runs a command that succeeds."""
        result = self.run(*arguments, stdin=stdin, **env)
        assert result.status == 0, result
        return result
