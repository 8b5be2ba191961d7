"""A real server in a separate process, on a free port, ended by its process id."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

from support.environment import environment
from support.forking import Forked
from support.redis_server import free_port

READY = re.compile(r"duebus ready on (\S+) engines=(\S+)(?: web=(\S+))?")
END_TIMEOUT_S = 60
SERVER = "duebus_server"

TROUBLE = re.compile(r"unexpected error|Traceback|never retrieved|was destroyed|never awaited|raised by servicer")
"""Text that no server may log."""


def assert_untroubled(log: str) -> None:
    """Assert that the server logged no unexpected error."""
    found = TROUBLE.search(log)
    assert found is None, f"the server's log has {found[0]!r}:\n{log[max(0, found.start() - 500) :][:4000]}"


class ServerProcess:
    """A running server.

    Args:
        log: the file that its standard error goes to.
        flags: of the command line.
        listen: where, such as where one listened that it replaces.
        is_ready: wait for the ready line; otherwise ``wait_ready`` does that.

    Attributes:
        address: HOST:PORT, as its ready line says.
        engines: the engines it runs, the default first.
        web: the URL of the bus over HTTP; None without ``--web-listen``.
        log: the file that its standard error goes to.
    """

    def __init__(
        self,
        log: Path,
        *flags: str,
        listen: str | None = None,
        env: dict[str, str] | None = None,
        module: str = SERVER,
        is_ready: bool = True,
    ) -> None:
        # Not one that the system gives to others: a client that connects while the server is away may get its port.
        listen = listen or f"127.0.0.1:{free_port()}"
        command = [sys.executable, "-m", module, "--listen", listen, *flags]
        # With several processes, a parent starts the others as it was started itself.
        popen = subprocess.Popen if module != SERVER or "--processes" in flags else Forked
        self.log = log
        with log.open("ab") as stderr:
            self.process: subprocess.Popen[str] = popen(
                command,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env={**environment(), **(env or {})},
                process_group=0,  # Ctrl-C is for pytest, whose fixtures stop the server
            )
        if is_ready:
            self.wait_ready()

    def wait_ready(self) -> None:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        ready = READY.fullmatch(line.strip())
        if ready is None:
            self.kill()
            raise AssertionError(f"the server did not start: {line!r}, {self.log.read_text()}")
        self.address = ready[1]
        self.engines = ready[2].split(",")
        self.web = ready[3]

    def logged(self, pattern: str) -> str:
        """The first group of a pattern's match in the log. The line was written before the ready line."""
        found = re.search(pattern, self.log.read_text())
        assert found is not None, f"{pattern!r} is not in {self.log.read_text()}"
        return found[1]

    def terminate(self) -> int:
        """SIGTERM, and wait for the end of the drain; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        """Wait for the process to end by itself; the exit status."""
        return self.process.wait(END_TIMEOUT_S)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait(END_TIMEOUT_S)

    def close(self) -> None:
        """Kill it unless it has ended."""
        if self.process.poll() is None:
            self.kill()
        if self.process.stdout is not None:
            self.process.stdout.close()


def unpatched_server(log: Path, *flags: str) -> ServerProcess:
    """A server without our patch of grpcio, which a malformed path kills."""
    return _changed(log, "support.unpatched_server", flags)


def patient_server(log: Path, *flags: str) -> ServerProcess:
    """A server that waits for a minute for calls that do not end with its drain."""
    return _changed(log, "support.patient_server", flags)


def _changed(log: Path, module: str, flags: tuple[str, ...]) -> ServerProcess:
    tests = Path(__file__).parents[1]
    return ServerProcess(log, *flags, module=module, env={"PYTHONPATH": str(tests)})
