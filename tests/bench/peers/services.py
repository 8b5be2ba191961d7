"""The brokers that the peers need: each in its own process and on its own port, with data removed at the end."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bench.peers.places import BUILD
from support.redis_server import RedisServer, free_port

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

START_TIMEOUT_S = 60
END_TIMEOUT_S = 20
RABBITMQ = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""The script inside Debian's package: the one on the PATH changes the user and writes below /var."""


class BrokerError(Exception):
    """A broker did not start."""


@contextmanager
def redis() -> Iterator[str]:
    """Redis with the settings that the redis engine is measured with; its URL."""
    server = RedisServer("--appendonly", "yes", "--appendfsync", "everysec")
    try:
        yield server.url
    finally:
        server.close()


@contextmanager
def beanstalkd(sync_ms: int) -> Iterator[str]:
    """beanstalkd with its log. It syncs the log at most once in this time, or with 0 before each answer. HOST:PORT."""
    with ExitStack() as stack:
        data, port = _directory(stack), free_port()
        command = ["beanstalkd", "-l", "127.0.0.1", "-p", str(port), "-b", str(data), "-f", str(sync_ms)]
        _run(stack, command, port, data)
        yield f"127.0.0.1:{port}"


@contextmanager
def nats() -> Iterator[str]:
    """NATS with JetStream in files, written to the disk every second as Redis's is; its URL."""
    with ExitStack() as stack:
        data, port = _directory(stack), free_port()
        settings = data / "nats.conf"
        settings.write_text(
            f'host: 127.0.0.1\nport: {port}\njetstream {{ store_dir: "{data / "store"}", sync_interval: "1s" }}\n'
        )
        _run(stack, [str(BUILD / "bin" / "nats-server"), "-c", str(settings)], port, data)
        yield f"nats://127.0.0.1:{port}"


@contextmanager
def rabbitmq() -> Iterator[str]:
    """RabbitMQ as a separate node with its own epmd; both end with the stack. Returns its URL."""
    with ExitStack() as stack:
        data, port, epmd_port = _directory(stack), free_port(), free_port()
        env = _rabbitmq_env(data, port, epmd_port)
        _run(stack, ["epmd", "-address", "127.0.0.1", "-port", str(epmd_port)], epmd_port, data, env)
        _run(stack, [str(RABBITMQ)], port, data, env)
        yield f"amqp://guest:guest@127.0.0.1:{port}/"


def _rabbitmq_env(data: Path, port: int, epmd_port: int) -> dict[str, str]:
    (data / "rabbitmq.conf").write_text(f"listeners.tcp.1 = 127.0.0.1:{port}\n")
    (data / "plugins").write_text("[].\n")
    return {
        **os.environ,
        "HOME": str(data),
        "ERL_EPMD_PORT": str(epmd_port),
        "RABBITMQ_NODENAME": f"bench-{port}@localhost",
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_CONFIG_FILE": str(data / "rabbitmq.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(data / "plugins"),
        "RABBITMQ_MNESIA_BASE": str(data / "store"),
        "RABBITMQ_LOG_BASE": str(data),
        "RABBITMQ_PID_FILE": str(data / "pid"),
    }


BROKERS: dict[str, Callable[[], AbstractContextManager[str]]] = {
    "redis": redis,
    "beanstalkd": partial(beanstalkd, 1_000),
    "beanstalkd-always": partial(beanstalkd, 0),
    "nats": nats,
    "rabbitmq": rabbitmq,
}


def _directory(stack: ExitStack) -> Path:
    data = Path(tempfile.mkdtemp(prefix="duebus-peer-"))
    stack.callback(shutil.rmtree, data, ignore_errors=True)
    return data


def _run(stack: ExitStack, command: list[str], port: int, data: Path, env: dict[str, str] | None = None) -> None:
    """Run a broker until the stack ends, together with what it started; return when its port answers."""
    log = data / "log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, start_new_session=True
        )
    stack.callback(_end, process)
    deadline = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.02)  # nothing signals that a foreign server listens
        else:
            return
    raise BrokerError(f"{command[0]} did not start: {log.read_text()[-500:].strip()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End the session that the process leads: itself and its children."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    finally:
        process.wait(END_TIMEOUT_S)
