"""Several server processes on one address: spawned, watched, and stopped together.

The kernel spreads connections over them (SO_REUSEPORT). They share only the address and their Redis, as replicas on
several hosts would.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import structlog

from duebus_server.launch import EXIT_CANNOT_SERVE, launch, print_error
from duebus_server.ops.logs import configure_logs
from duebus_server.wire.server import PortInUseError, refuse_if_taken

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from duebus_server.config import Settings

    Target = Callable[[int, Connection], None]

log = structlog.get_logger()

# Never forked: gRPC's threads would not be in the child.
_CONTEXT = multiprocessing.get_context("spawn")

RESTART_S = 1.0
"""The pause before a process that has ended is restarted. Restarts never stop: Redis may come back."""

STOPPED = (0, -signal.SIGTERM)
"""The exit codes of a process that was asked to stop: drained, or terminated before it served."""

SHARED_ADDRESSES = ("listen", "web_listen")
"""Settings of ports that all processes listen on."""

OWN_ADDRESSES = ("http_listen", "health_listen")
"""Settings of ports for probes and scrapes: each process has its own, counted up from the first."""


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
            return Processes(settings.processes, partial(_launch_one, settings, shared)).run(announce)
    except PortInUseError as error:
        return print_error(error, EXIT_CANNOT_SERVE)


def _launch_one(settings: Settings, shared: dict[str, str], number: int, ready: Connection) -> None:
    """The main function of a process."""
    threading.Thread(target=_drain_without_parent, daemon=True).start()
    own = {name: _own_address(address, number) for name in OWN_ADDRESSES if (address := getattr(settings, name))}
    sys.exit(launch(settings.model_copy(update={**shared, **own}), ready.send, shares_port=True))


def _drain_without_parent() -> None:
    """Have the kernel end this process with its parent: if that is killed, nobody is left to stop it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


def _own_address(address: str, number: int) -> str:
    """HOST:PORT of this process; port 0 picks a free one for each."""
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + number}" if int(port) else address


class Processes:
    """The processes of one ``duebus serve``.

    Args:
        count: how many.
        target: the main function, given the process's number from 0. It sends its ready line through the pipe once it
            serves.
    """

    def __init__(self, count: int, target: Target) -> None:
        self._count = count
        self._target = target
        self._running: dict[SpawnProcess, int] = {}
        # The pipes of those that do not serve yet, with their numbers.
        self._starting: dict[Connection, int] = {}
        # The numbers of those that have served; all of them once the server is ready.
        self._ready: set[int] = set()
        # When processes that have ended are restarted, by number.
        self._restarts: dict[int, float] = {}
        self._stopping = False
        self._status = 0

    def run(self, announce: Callable[[str], None]) -> int:
        """Serve until SIGTERM, SIGINT or a Stop has drained them.

        Args:
            announce: called with the ready line once all of them have served.

        Returns:
            The exit status: 0 after a drain, otherwise that of the first process that failed.
        """
        with self._signals():
            for number in range(self._count):
                self._start(number)
            while self._running or (self._restarts and not self._stopping):
                sentinels = [process.sentinel for process in self._running]
                wait([*sentinels, *self._starting], RESTART_S if self._restarts else None)
                self._read_ready_lines(announce)
                self._check_ended()
                self._restart()
        return self._status

    def stop(self) -> None:
        """Drain them, once: a second signal would kill a process that has just drained."""
        if self._stopping:
            return
        self._stopping = True
        for process in self._running:
            process.terminate()

    def _switch_log_levels(self) -> None:
        """Pass SIGUSR1 on to those that serve: it would end one that is starting."""
        starting = set(self._starting.values())
        for process, number in self._running.items():
            if process.pid is not None and number not in starting:
                with suppress(ProcessLookupError):  # it has just ended
                    os.kill(process.pid, signal.SIGUSR1)

    def _start(self, number: int) -> None:
        """Start one, unless all are to stop."""
        if self._stopping:
            return
        receiver, sender = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=self._target, args=(number, sender))
        process.start()
        sender.close()
        self._starting[receiver] = number  # first: a signal for those that serve is not for this one
        self._running[process] = number
        if self._stopping:  # ``stop`` ran before this process was registered
            process.terminate()

    def _read_ready_lines(self, announce: Callable[[str], None]) -> None:
        """Read the ready lines that have arrived; the last one is announced."""
        for receiver in [receiver for receiver in self._starting if receiver.poll()]:
            number = self._starting.pop(receiver)
            with closing(receiver), suppress(EOFError):  # it has ended, and said why on standard error
                line: str = receiver.recv()
                was_ready = self._all_ready
                self._ready.add(number)
                if self._all_ready and not was_ready:
                    announce(line)

    @property
    def _all_ready(self) -> bool:
        return len(self._ready) == self._count

    def _check_ended(self) -> None:
        """Handle processes that have ended: stop the others, or restart them."""
        for process in [process for process in self._running if not process.is_alive()]:
            number, status = self._running.pop(process), process.exitcode or 0
            # Drained by a signal or a Stop, both of which are for all; or unable to start, as the others would be.
            if self._stopping or status == 0 or (status > 0 and not self._all_ready):
                if status not in STOPPED:
                    self._status = self._status or abs(status)
                self.stop()
            else:
                log.error("a server process ended and will be restarted", status=status)
                self._restarts[number] = time.monotonic() + RESTART_S

    def _restart(self) -> None:
        """Restart the processes whose pause is over."""
        now_s = time.monotonic()
        for number in [number for number, at_s in self._restarts.items() if at_s <= now_s]:
            del self._restarts[number]
            self._start(number)

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Drain on SIGTERM and SIGINT; pass SIGUSR1 on."""
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
        before[signal.SIGUSR1] = signal.signal(signal.SIGUSR1, lambda *_: self._switch_log_levels())
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


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
            raise PortInUseError(f"cannot listen on {listen}: {error.strerror}") from error
        yield f"{host}:{holder.getsockname()[1]}"
