"""A real redis-server for tests, on a free port, with a data directory that is removed with it."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import redis

START_TIMEOUT_S = 60

_turns = itertools.count(random.randrange(2_048))


class RedisServer:
    """A running redis-server.

    Attributes:
        url: for clients.
        options: its flags, which a restart reads again.
    """

    def __init__(self, *options: str, port: int | None = None, password: str | None = None) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="duebus-redis-"))
        self.port = port or free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self.options = options
        self._password = password
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server is missing: run 'make redis', or install your system's package")
        command = [program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self.directory)]
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [*command, "--save", "", *self.options],
                stdout=log,
                stderr=log,
                process_group=0,  # Ctrl-C is for pytest, whose fixtures stop the server
            )
        self._wait_until_it_answers(process)
        return process

    def _wait_until_it_answers(self, process: subprocess.Popen[bytes]) -> None:
        client = redis.Redis.from_url(self.url, password=self._password)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and process.poll() is None:
            try:
                client.ping()
            except redis.ConnectionError:
                time.sleep(0.01)  # another program can't signal that it listens
            else:
                client.close()
                return
        process.kill()
        raise AssertionError(f"redis-server did not start: {(self.directory / 'log').read_text()}")

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def restart(self) -> None:
        """Start again with the same data and port, after `kill`."""
        self.process = self._start()

    def close(self) -> None:
        """End it and remove its data."""
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


def free_port(below: int = 32_768) -> int:
    """A free port of the loopback interface, below a limit.

    The default limit is where Linux's ephemeral ports begin, so that the system gives it to no other process. No
    other of 16 workers of pytest is given it, nor the port 10,000 above, where a node of a cluster listens too.

    A process gets none twice before it has had all of them: a port that was in use a moment ago can have connections
    in TIME_WAIT, and gRPC remembers for a while that nobody listened there.
    """
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(10_000 + worker % 16, below, 16)
    while True:
        port = ports[next(_turns) % len(ports)]
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
