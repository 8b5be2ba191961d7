"""Several server processes on the same addresses: spawned, watched, and stopped together.

The kernel spreads connections over them (SO_REUSEPORT). They share only the addresses and their Redis, as replicas on
several hosts would. Their parent answers probes and scrapes for all of them.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import socket
import sys
import threading
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING

import structlog

from duebus_server.launch import EXIT_CANNOT_SERVE, launch, print_error
from duebus_server.ops.http import HttpListenError, HttpPort
from duebus_server.ops.logs import configure_logs
from duebus_server.ops.probes import probes
from duebus_server.ops.reports import Reports
from duebus_server.wire.server import PortInUseError, refuse_if_taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from duebus_server.config import Settings

    Target = Callable[[Connection, socket.socket], None]

log = structlog.get_logger()

# Never forked: gRPC's threads would not be in the child.
_CONTEXT = multiprocessing.get_context("spawn")

RESTART_S = 1.0
"""The pause before a process that has ended is restarted. Restarts never stop: Redis may come back."""

STOPPED = (0, -signal.SIGTERM)
"""The exit codes of a process that was asked to stop: drained, or terminated before it served."""

SHARED_ADDRESSES = ("listen", "health_listen", "web_listen")
"""Settings of ports that all processes listen on. On that of ``http_listen``, the parent does."""


def launch_several(settings: Settings, announce: Callable[[str], None]) -> int:
    """Serve in ``settings.processes`` processes until they are stopped, as ``launch`` does in one."""
    configure_logs(settings.log_format, settings.log_level)
    try:
        with ExitStack() as held:
            shared = {
                name: held.enter_context(reserved(address))
                for name in SHARED_ADDRESSES
                if (address := getattr(settings, name))
            }
            processes = Processes(settings.processes, partial(_launch_one, settings, shared))
            return asyncio.run(_serve_all(processes, settings.http_listen, announce))
    except (PortInUseError, HttpListenError) as error:
        return print_error(error, EXIT_CANNOT_SERVE)


async def _serve_all(processes: Processes, http_listen: str | None, announce: Callable[[str], None]) -> int:
    """Run the processes, and answer probes and scrapes for all of them if there is an address for it."""
    reports = processes.reports
    port = HttpPort(probes(reports.not_alive, reports.not_ready, reports.scrape))
    if http_listen is not None:
        await port.start(http_listen)
    try:
        return await processes.run(announce)
    finally:
        await port.stop()


def _launch_one(settings: Settings, shared: dict[str, str], ready: Connection, parent: socket.socket) -> None:
    """The main function of a process."""
    threading.Thread(target=_drain_without_parent, daemon=True).start()
    sys.exit(launch(settings.model_copy(update=shared), ready.send, parent=parent))


def _drain_without_parent() -> None:
    """Have the kernel end this process with its parent: if that is killed, nobody is left to stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class Processes:
    """The processes of one ``duebus serve``.

    Attributes:
        reports: what they report.

    Args:
        count: how many.
        target: the main function, given a pipe, through which it sends its ready line once it serves, and the socket
            over which it reports.
    """

    def __init__(self, count: int, target: Target) -> None:
        self.reports = Reports(count)
        self._count = count
        self._target = target
        self._running: set[SpawnProcess] = set()
        # Those that serve, and so take signals.
        self._serving: set[SpawnProcess] = set()
        # The numbers of those that have served; all of them once the server is ready.
        self._ready: set[int] = set()
        # Whether SIGUSR1 has switched the log level of those that serve.
        self._is_switched = False
        self._stopping = asyncio.Event()
        self._status = 0

    async def run(self, announce: Callable[[str], None]) -> int:
        """Serve until SIGTERM, SIGINT or a Stop has drained them. SIGUSR1 is passed on to them.

        Args:
            announce: called with the ready line once all of them have served.

        Returns:
            The exit status: 0 after a drain, otherwise that of the first process that failed.
        """
        loop = asyncio.get_running_loop()
        for end in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(end, self.stop)
        loop.add_signal_handler(signal.SIGUSR1, self._switch_log_levels)
        async with asyncio.TaskGroup() as tasks:
            for number in range(self._count):
                tasks.create_task(self._keep_running(number, announce))
        return self._status

    def stop(self) -> None:
        """Drain them, once: a second signal would kill a process that has just drained."""
        if not self._stopping.is_set():
            self._stopping.set()
            for process in self._running:
                process.terminate()

    def _switch_log_levels(self) -> None:
        """Pass SIGUSR1 on to those that serve. It would end one that is starting, which gets it later."""
        self._is_switched = not self._is_switched
        for process in self._serving:
            _switch_log_level(process)

    async def _keep_running(self, number: int, announce: Callable[[str], None]) -> None:
        """Run a process, and another one in its place whenever it has ended, until all are to stop."""
        while not self._stopping.is_set():
            status = await self._run_one(number, announce)
            # Drained by a signal or a Stop, both of which are for all; or unable to start, as the others would be.
            if self._stopping.is_set() or status == 0 or (status > 0 and not self._all_ready):
                if status not in STOPPED:
                    self._status = self._status or abs(status)
                return self.stop()
            log.error("a server process ended and will be restarted", status=status)
            with suppress(TimeoutError):
                async with asyncio.timeout(RESTART_S):
                    await self._stopping.wait()
        return None

    async def _run_one(self, number: int, announce: Callable[[str], None]) -> int:
        """Run a process until it ends. Returns its exit status, negative if a signal ended it."""
        ready, its_ready = _CONTEXT.Pipe(duplex=False)
        reports, its_reports = socket.socketpair()
        process = _CONTEXT.Process(target=self._target, args=(its_ready, its_reports))
        process.start()
        its_ready.close()
        its_reports.close()
        self._running.add(process)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._wait_ready(number, process, ready, announce))
            tasks.create_task(self.reports.follow(number, reports))
            await _readable(process.sentinel)
        process.join()
        self._running.discard(process)
        self._serving.discard(process)
        return process.exitcode or 0

    async def _wait_ready(
        self, number: int, process: SpawnProcess, ready: Connection, announce: Callable[[str], None]
    ) -> None:
        """Wait for the ready line of a process; the last one is announced."""
        with closing(ready), suppress(EOFError):  # it has ended, and said why on standard error
            await _readable(ready.fileno())
            line: str = ready.recv()
            self._serving.add(process)
            if self._is_switched:
                _switch_log_level(process)
            was_ready = self._all_ready
            self._ready.add(number)
            if self._all_ready and not was_ready:
                announce(line)

    @property
    def _all_ready(self) -> bool:
        return len(self._ready) == self._count


def _switch_log_level(process: SpawnProcess) -> None:
    if process.is_alive() and process.pid is not None:
        os.kill(process.pid, signal.SIGUSR1)


async def _readable(file: int) -> None:
    """Return when a file has something to read, or its other end is closed."""
    loop = asyncio.get_running_loop()
    readable = asyncio.Event()
    loop.add_reader(file, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(file)


@contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Hold an address for processes that share it; port 0 becomes a free one.

    Yields:
        HOST:PORT, with the port that is held.

    Raises:
        PortInUseError: the address can't be bound.
    """
    refuse_if_taken(listen)
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        try:
            holder.bind((host.strip("[]"), int(port)))
        except OSError as error:
            raise PortInUseError(f"can't listen on {listen}: {error.strerror}") from error
        yield f"{host}:{holder.getsockname()[1]}"
