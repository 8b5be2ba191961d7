"""Runs Python programs in separate processes that start within milliseconds.

Importing gRPC and the server takes a second of CPU, and the suite starts a thousand processes. So one process imports
them once and forks itself for each program. Programs whose start is under test are started normally.
"""

from __future__ import annotations

import gc
import io
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import threading
import weakref
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from support.environment import environment

MODULES = ("duebus_server.launch", "duebus_server.processes", "duebus._api", "duebus.cli.terminal", "rich.progress")
"""The modules of the commands import nearly everything else. None starts a thread, which a fork would lose."""

TESTS = Path(__file__).parents[1]
NUMBER_BYTES = 4
PROGRAM_TIMEOUT_S = 180


class Forked(subprocess.Popen[Any]):
    """Like ``subprocess.Popen``, for a Python program: ``[sys.executable, "-m", module, ...]`` or ``[script, ...]``."""

    def _execute_child(self, args: list[Any], *others: Any) -> None:
        _, _, _, _, directory, env, _, _, _, *pipes, _, _, _, _, _, new_session, process_group = others
        stdin, _, _, stdout, _, stderr = pipes
        program = Program(
            [os.fspath(each) for each in args],
            environment() if env is None else dict(env),
            os.fspath(directory or os.getcwd()),  # noqa: PTH109  # text, as JSON takes it
            new_session,
            process_group,
        )
        self._reading = threading.Lock()
        self._status = _forker().start(
            program, [own if fd == -1 else fd for own, fd in enumerate((stdin, stdout, stderr))]
        )
        weakref.finalize(self, os.close, self._status)
        self.pid = _read_number(self._status)
        self._child_created = True
        self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]  # as Popen does

    def _internal_poll(self, _deadstate: int | None = None) -> int | None:
        if _deadstate is None:
            return self._end(0)
        # Called by `__del__`. The pipe may be closed by now, and its number that of another program's.
        self.returncode = _deadstate if self.returncode is None else self.returncode
        return self.returncode

    def _wait(self, timeout: float | None) -> int:
        status = self._end(timeout)
        if status is None:
            raise subprocess.TimeoutExpired(self.args, timeout or 0)
        return status

    def _end(self, timeout_s: float | None) -> int | None:
        """Waits for the program to end. Returns its exit status as Popen does, or None if it is still running."""
        if self.returncode is None and select.select([self._status], [], [], timeout_s)[0]:
            with self._reading:
                if self.returncode is None:
                    self.returncode = _read_number(self._status)
        return self.returncode


def status_of(module: str, *arguments: str) -> int:
    """Runs a module of the tests to its end. Returns its exit status as Popen does."""
    env = {**environment(), "PYTHONPATH": str(TESTS)}
    with Forked([sys.executable, "-m", module, *arguments], env=env) as process:
        try:
            return process.wait(PROGRAM_TIMEOUT_S)
        finally:
            process.kill()


class Program(NamedTuple):
    """The program that a forked process runs.

    Attributes:
        arguments: as ``Forked`` has them.
        process_group: as Popen takes it; -1 leaves it as it is.
    """

    arguments: list[str]
    env: dict[str, str]
    directory: str
    new_session: bool
    process_group: int

    def run(self) -> None:
        """Runs it as the main program of this process."""
        arguments = self.arguments[self.arguments[0] == sys.executable :]
        is_module = arguments[0] == "-m"
        sys.argv = arguments[is_module:]
        first = self.directory if is_module else os.path.dirname(arguments[0])  # noqa: PTH120
        sys.path[:0] = [first, *filter(None, self.env.get("PYTHONPATH", "").split(os.pathsep))]
        if is_module:
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(sys.argv[0], run_name="__main__")


class Forker:
    """The process that forks, seen from the tests. Thread-safe. It ends with the process of the tests."""

    def __init__(self) -> None:
        self._socket, theirs = socket.socketpair()
        self._lock = threading.Lock()
        command = [sys.executable, "-P", "-m", __name__, str(theirs.fileno())]
        # As the command line does: gRPC reads this once, when it is loaded.
        env = {**environment(), "PYTHONPATH": str(TESTS), "GRPC_VERBOSITY": "ERROR"}
        with theirs:
            self._process = subprocess.Popen(command, env=env, pass_fds=[theirs.fileno()], process_group=0)

    def start(self, program: Program, streams: list[int]) -> int:
        """Starts it with these standard streams. The returned pipe yields its process id, and later its exit status."""
        status, theirs = os.pipe()
        request = json.dumps(program).encode()
        try:
            with self._lock:
                socket.send_fds(self._socket, [len(request).to_bytes(NUMBER_BYTES)], [*streams, theirs])
                self._socket.sendall(request)
        finally:
            os.close(theirs)
        return status


_MAKING = threading.Lock()


def _forker() -> Forker:
    with _MAKING:  # of two that threads make at once, one would be dropped, and would end
        return _only_forker()


@cache
def _only_forker() -> Forker:
    return Forker()


def _read_number(file: int) -> int:
    read = os.read(file, NUMBER_BYTES)
    assert read, "the process that forks has ended"
    return int.from_bytes(read, signed=True)


# --- in the process that forks ----------------------------------------------------------------------------------------


def serve(tests: socket.socket) -> Program | None:
    """Forks until the tests end.

    Returns:
        In a forked process, the program to run; None at the end.
    """
    ended, end = os.pipe()
    os.set_blocking(end, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(end)
    statuses: dict[int, int] = {}
    while True:
        ready, _, _ = select.select([tests.fileno(), ended], [], [])
        if ended in ready:
            os.read(ended, 1024)
            _report_ends(statuses)
        if tests.fileno() not in ready:
            continue
        size, fds, _, _ = socket.recv_fds(tests, NUMBER_BYTES, 4)
        if not size:
            return None
        program = Program(*json.loads(_receive(tests, int.from_bytes(size))))
        *streams, status = fds
        if not (pid := os.fork()):
            signal.set_wakeup_fd(-1)
            for each in (tests.detach(), ended, end, status, *statuses.values()):
                os.close(each)
            _become(program, streams)
            return program
        os.write(status, pid.to_bytes(NUMBER_BYTES))
        statuses[pid] = status
        for stream in streams:
            os.close(stream)


def _receive(tests: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        received += tests.recv(size - len(received))
    return received


def _report_ends(statuses: dict[int, int]) -> None:
    while statuses:
        pid, ended = os.waitpid(-1, os.WNOHANG)
        if not pid:
            return
        status = statuses.pop(pid)
        with open(status, "wb") as report:  # noqa: PTH123  # a descriptor
            report.write(os.waitstatus_to_exitcode(ended).to_bytes(NUMBER_BYTES, signed=True))


def _become(program: Program, streams: list[int]) -> None:
    """Does what Popen and the start of Python would do."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if program.new_session:
        os.setsid()
    if program.process_group != -1:
        os.setpgid(0, program.process_group)
    os.environ.clear()
    os.environ.update(program.env)
    os.chdir(program.directory)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, closefd=False)), "utf-8")
    sys.stdout = _output(1, "strict")
    sys.stderr = _output(2, "backslashreplace")


def _output(number: int, errors: str) -> io.TextIOWrapper:
    return io.TextIOWrapper(io.FileIO(number, "w", closefd=False), "utf-8", errors, write_through=True)


def main() -> None:
    """The process that forks, and its children."""
    sys.path.remove(str(TESTS))
    commands = import_module("duebus.cli.app").COMMANDS.values()
    for each in (*MODULES, *{f"duebus.cli.{command.module}" for command in commands}):
        import_module(each)
    gc.freeze()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with socket.socket(fileno=int(sys.argv[1])) as tests:
        program = serve(tests)
    if program is not None:
        program.run()


if __name__ == "__main__":
    main()
