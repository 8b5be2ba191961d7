"""The separate processes of a scenario: Redis, servers and roles."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import redis
from bench.cpu_quota import CpuQuota
from support.forking import Forked
from support.redis_cluster import running_cluster
from support.redis_server import RedisServer
from support.server_process import ServerProcess

TESTS = Path(__file__).parents[1]
TICKS = os.sysconf("SC_CLK_TCK")
CPU_CLOCK = 2
"""Linux's number for a process's CPU time. With the process id, it makes the id of a clock that counts nanoseconds."""
ROLE_TIMEOUT_S = 300
NODE_TIMEOUT_MS = 5_000


def cpu_s_of(pid: int) -> float:
    """The CPU time of a process and its children, including those that have ended, in seconds."""
    own_s = time.clock_gettime(~pid << 3 | CPU_CLOCK)
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    ended_s = sum(map(int, fields[13:15])) / TICKS
    return own_s + ended_s + sum(cpu_s_of(int(child)) for child in children)


def rss_bytes_of(pid: int) -> int:
    """The resident memory of a process and its children, in bytes."""
    own = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return own + sum(rss_bytes_of(int(child)) for child in children)


def role_env() -> dict[str, str]:
    """This process's environment, with the tests on Python's path."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])}


class RoleError(Exception):
    """A role's process ended too early, or took too long."""


class Role:
    """A process that takes part in a scenario, such as a producer or a worker.

    Args:
        command: a program that follows the protocol of ``roles/role.py``.
        arguments: handed to it as JSON.
        env: for the process; by default this one's, with the tests on Python's path.
        log: the file that its standard error is appended to; by default this process's.
        popen: the class or function that starts the process.
        cwd: the folder that it runs in.
    """

    def __init__(
        self,
        command: list[str],
        arguments: dict[str, Any],
        env: dict[str, str] | None = None,
        log: Path | None = None,
        popen: type[subprocess.Popen[Any]] = subprocess.Popen,
        cwd: Path = TESTS,
    ) -> None:
        with ExitStack() as stack:
            self.process: subprocess.Popen[str] = popen(
                [*command, json.dumps(arguments)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=None if log is None else stack.enter_context(log.open("ab")),
                text=True,
                env=role_env() if env is None else env,
                cwd=cwd,
                process_group=0,
            )

    def wait_ready(self) -> None:
        """Return when it is ready to begin.

        Raises:
            RoleError: it ended first, or took too long.
        """
        line = self._line().strip()
        if line != "ready":
            raise RoleError(f"a role ended before it was ready: {line!r}")

    def begin(self) -> None:
        """Start its work."""
        assert self.process.stdin is not None
        self.process.stdin.write("begin\n")
        self.process.stdin.flush()

    def result(self) -> dict[str, Any]:
        """Wait for its end. Returns its result.

        Raises:
            RoleError: it ended without a result, or took too long.
        """
        line = self._line()
        if not line:
            raise RoleError("a role ended without a result, or took too long")
        self.process.wait(ROLE_TIMEOUT_S)
        result: dict[str, Any] = json.loads(line)
        return result

    def _line(self) -> str:
        """The next line of its output; empty if it has ended, or was ended because it took too long."""
        assert self.process.stdout is not None
        limit = threading.Timer(ROLE_TIMEOUT_S, self.process.kill)
        limit.start()
        try:
            return self.process.stdout.readline()
        finally:
            limit.cancel()

    def close(self) -> None:
        """Kill it unless it has ended."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            with suppress(BrokenPipeError):
                pipe.close()


DURABLE = ("--appendonly", "yes", "--appendfsync", "everysec")

JOURNALED = {"local-everysec": "everysec", "local-always": "always"}
"""The local engine with a data directory, and how it syncs."""


class System:
    """A server with the engine that is measured, and Redis for the redis engine: appendonly, fsync every second.

    Attributes:
        engine: the engine's name in requests.

    Args:
        engine: which one: ``redis``, ``local`` in memory, or one of ``JOURNALED``.
        *flags: of the server.
        nodes: how many nodes Redis has; several form a cluster.
        node_share: the share of one core that each node gets; 0 sets no limit.

    Raises:
        QuotaError: this machine can't limit them.
    """

    def __init__(self, engine: str, *flags: str, nodes: int = 1, node_share: float = 0) -> None:
        self.engine = "local" if engine in JOURNALED else engine
        self._stack = ExitStack()
        self._directory = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="duebus-bench-")))
        self._nodes: list[RedisServer] = []
        own = [*flags, "--engine", self.engine]
        if engine == "redis":
            quotas = [self._quota(node_share) for _ in range(nodes)] if node_share else []
            own += ["--redis-url", self._start_redis(nodes)]
            for node, quota in zip(self._nodes, quotas, strict=bool(quotas)):
                quota.add(node.process.pid)
        else:
            own += ["--max-queued", "0"]
        if engine in JOURNALED:
            own += ["--data-dir", str(self._directory / "data"), "--fsync", JOURNALED[engine]]
        self.server = ServerProcess(self._directory / "server.log", *own)
        self._stack.callback(self.server.close)

    @property
    def redis(self) -> RedisServer | None:
        """Redis, or a node of its cluster; None without the redis engine."""
        return self._nodes[0] if self._nodes else None

    def _quota(self, share: float) -> CpuQuota:
        quota = CpuQuota(share)
        self._stack.callback(quota.close)
        return quota

    def _start_redis(self, nodes: int) -> str:
        """Start the nodes. Returns the URL for servers."""
        if nodes > 1:
            self._nodes = self._stack.enter_context(running_cluster(nodes, 0, NODE_TIMEOUT_MS, *DURABLE))
            return f"redis+cluster://127.0.0.1:{self._nodes[0].port}"
        self._nodes = [RedisServer(*DURABLE)]
        self._stack.callback(self._nodes[0].close)
        return self._nodes[0].url

    def __enter__(self) -> System:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def role(self, name: str, **arguments: Any) -> Role:
        """A role that talks to the server, ready to begin."""
        return self.plain_role(name, target=self.server.address, engine=self.engine, **arguments)

    def plain_role(self, name: str, **arguments: Any) -> Role:
        """A role with only these arguments, ready to begin."""
        role = Role([sys.executable, "-m", f"bench.roles.{name}"], arguments, popen=Forked)
        self._stack.callback(role.close)
        role.wait_ready()
        return role

    def cpu_s(self) -> dict[str, float]:
        """The CPU seconds so far of the server and of Redis, each summed over its processes."""
        used = {"server": cpu_s_of(self.server.process.pid)}
        if self._nodes:
            used["redis"] = sum(cpu_s_of(node.process.pid) for node in self._nodes)
        return used

    def rss_bytes(self) -> int:
        """The resident memory of the server's processes."""
        return rss_bytes_of(self.server.process.pid)

    def memory_bytes(self) -> dict[str, int]:
        """The memory of the server, and what Redis stores."""
        used = {"server": self.rss_bytes()}
        if self._nodes:
            used["redis"] = self.stored_bytes()
        return used

    def stored_bytes(self) -> int:
        """The memory of the engine's events: Redis's own figure, or the server's memory for the local engine."""
        if self.redis is None:
            return self.rss_bytes()
        with redis.Redis.from_url(self.redis.url) as client:
            facts = client.info("memory")
        return int(facts["used_memory"]) - int(facts["mem_clients_normal"])
