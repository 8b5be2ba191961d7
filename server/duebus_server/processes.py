"""Several server processes on one address: started fresh, watched, and stopped together.

The kernel spreads connections over them (SO_REUSEPORT). They share nothing but the address and their Redis, as
replicas on several hosts would.
"""

from __future__ import annotations

import multiprocessing
import signal
import socket
import time
from contextlib import closing, contextmanager
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from multiprocessing.connection import Connection
    from multiprocessing.context import SpawnProcess

    from duebus_server.config import Settings

    Target = Callable[[Settings, Connection], None]

log = structlog.get_logger()

# Never forked: gRPC's threads would not be in the child.
_CONTEXT = multiprocessing.get_context("spawn")

TOO_SOON_S = 5.0
"""A process that ends within this time of its start would only end again: then all are stopped."""


class Processes:
    """The processes of one ``duebus serve``.

    Args:
        settings: of each of them, but for ``processes``; ``listen`` has the port that is in use.
        count: how many.
        target: what each runs; it sends its ready line through the pipe once it serves.
    """

    def __init__(self, settings: Settings, count: int, target: Target) -> None:
        self._settings = settings
        self._count = count
        self._target = target
        self._running: dict[SpawnProcess, float] = {}
        self._stopping = False
        self._status = 0

    def run(self, announce: Callable[[str], None]) -> int:
        """Serve until SIGTERM, SIGINT or a Stop has drained them.

        Args:
            announce: called with the ready line when all of them serve.

        Returns:
            The exit status: 0 after a drain; that of the first process that failed otherwise.
        """
        with self._signals():
            lines = [self._start() for _ in range(self._count)]
            if all(lines) and not self._stopping:
                announce(lines[0])
            else:
                self.stop()
            while self._running:
                wait([process.sentinel for process in self._running])
                self._look()
        return self._status

    def stop(self) -> None:
        """Drain them; harmless when they are draining."""
        self._stopping = True
        for process in self._running:
            if process.pid is not None:
                process.terminate()

    def _start(self) -> str:
        """Start one; its ready line, empty when it has failed instead."""
        receiver, sender = _CONTEXT.Pipe(duplex=False)
        process = _CONTEXT.Process(target=self._target, args=(self._settings, sender))
        process.start()
        sender.close()
        self._running[process] = time.monotonic()
        with closing(receiver):
            try:
                line: str = receiver.recv()
            except EOFError:  # it has ended, and said why on standard error
                return ""
        return line

    def _look(self) -> None:
        """What becomes of the others when some have ended."""
        for process in [process for process in self._running if not process.is_alive()]:
            lived_s = time.monotonic() - self._running.pop(process)
            if process.exitcode == 0 or self._stopping:
                # Drained: by a signal to all, or by a Stop, which is meant for all.
                self._status = self._status or abs(process.exitcode or 0)
                self.stop()
            elif lived_s < TOO_SOON_S:
                log.error("a server process ended as soon as it was started", status=process.exitcode)
                self._status = abs(process.exitcode or 1)
                self.stop()
            else:
                log.error("a server process ended and is started again", status=process.exitcode)
                self._start()

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM and SIGINT drain."""
        before = {number: signal.signal(number, lambda *_: self.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
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
        OSError: it can't be had.
    """
    host, _, port = listen.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        holder.bind((host.strip("[]"), int(port)))
        yield f"{host}:{holder.getsockname()[1]}"
