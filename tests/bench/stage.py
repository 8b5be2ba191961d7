"""The processes of a scenario: Redis, servers and roles, each on its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import redis
from support.redis_server import RedisServer
from support.server_process import ServerProcess

TESTS = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
ROLE_TIMEOUT_S = 600


def cpu_s_of(pid: int) -> float:
    """What a process has used of a core, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def rss_bytes_of(pid: int) -> int:
    """The memory of a process that is resident, in bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Role:
    """A role's process."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        command = [sys.executable, "-m", f"bench.roles.{name}", json.dumps(arguments)]
        env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env, cwd=TESTS
        )

    def wait_ready(self) -> None:
        """Return when it is set up."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline().strip()
        if line != "ready":
            raise RuntimeError(f"a role ended before it began: {line!r}")

    def go(self) -> None:
        """Let it begin."""
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for its end, and what it returned."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        self.process.wait(ROLE_TIMEOUT_S)
        result: dict[str, Any] = json.loads(line)
        return result

    def close(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


class Stage:
    """A server with the engine that is measured, and Redis for the redis engine: appendonly, fsync every second."""

    def __init__(self, engine: str, *flags: str) -> None:
        self.engine = engine
        self._stack = ExitStack()
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="duebus-bench-")))
        self.redis: RedisServer | None = None
        own = [*flags, "--engine", engine]
        if engine == "redis":
            self.redis = RedisServer("--appendonly", "yes", "--appendfsync", "everysec")
            self._stack.callback(self.redis.close)
            own += ["--redis-url", self.redis.url]
        else:
            own += ["--max-queued", "0"]
        self.server = ServerProcess(self._directory / "server.log", *own)
        self._stack.callback(self.server.close)

    def __enter__(self) -> Stage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def role(self, name: str, **arguments: Any) -> Role:
        """A role that talks to the server, set up to begin."""
        return self.plain_role(name, target=self.server.address, engine=self.engine, **arguments)

    def plain_role(self, name: str, **arguments: Any) -> Role:
        """A role with no other arguments than these, set up to begin."""
        role = Role(name, arguments)
        self._stack.callback(role.close)
        role.wait_ready()
        return role

    def cpu_s(self) -> dict[str, float]:
        """Core seconds so far, of the server and of Redis."""
        return {name: cpu_s_of(pid) for name, pid in self._pids().items()}

    def rss_bytes(self) -> int:
        """The server's memory that is resident."""
        return rss_bytes_of(self.server.process.pid)

    def stored_bytes(self) -> int:
        """What the engine's events take: Redis's own figure, or the server's memory for the local engine."""
        if self.redis is None:
            return self.rss_bytes()
        with redis.Redis.from_url(self.redis.url) as client:
            facts = client.info("memory")
        return int(facts["used_memory"]) - int(facts["mem_clients_normal"])

    def _pids(self) -> dict[str, int]:
        pids = {"server": self.server.process.pid}
        return pids if self.redis is None else {**pids, "redis": self.redis.process.pid}
