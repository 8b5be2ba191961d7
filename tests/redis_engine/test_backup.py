"""The commands of docs/backup.md, run as they stand there but for the addresses and the directories."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from duebus import Client
from support.documents import ROOT, section, transcripts
from support.redis_bus import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.redis_server import RedisServer
    from support.server_process import ServerProcess

GUIDE = ROOT / "docs/backup.md"


def commands(heading: str) -> list[str]:
    """The commands of a section."""
    return [shown.command for shown in transcripts(section(GUIDE, heading))]


def run(command: str, folder: Path, **replaced: str) -> int:
    """The exit status of a command in a folder, with parts of it replaced."""
    for old, new in replaced.items():
        command = command.replace(PARTS[old], new)
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    return subprocess.run(["sh", "-c", command], cwd=folder, env={**os.environ, "PATH": path}, check=False).returncode


PARTS = {"redis": "redis://127.0.0.1:6379", "data": "/var/lib/redis", "journal": "/var/lib/duebus/journal"}
"""What the commands name that is elsewhere in a test."""


def waiting(server: ServerProcess) -> int:
    """How many events the bus holds."""
    with Client(server.address) as bus:
        return sum(topic.queued for topic in bus.admin.list_topics())


def dispatch(server: ServerProcess, count: int) -> None:
    """Dispatch events, for which there are no workers."""
    with Client(server.address) as bus:
        for number in range(count):
            bus.dispatch("orders", number)


async def test_redis_is_restored_to_the_moment_of_the_backup(
    start_redis: Callable[..., RedisServer], start_server: Callable[..., ServerProcess], tmp_path: Path
) -> None:
    # given: a Redis with an append-only file, and five events
    store = start_redis("--appendonly", "yes")
    flags = ("--engine", "redis", "--redis-url", store.url)
    server = start_server(*flags)
    dispatch(server, 5)
    backup, clear, copy, append, written = commands("Redis")
    replaced = {"redis": store.url.removesuffix("/0"), "data": str(store.directory)}

    # when: two more come after the backup, everything stops, and the backup is put back
    assert run(backup, tmp_path, **replaced) == 0
    dispatch(server, 2)
    assert server.terminate() == 0
    store.kill()
    assert [run(each, tmp_path, **replaced) for each in (clear, copy)] == [0, 0]
    store.options = ("--appendonly", "no")
    store.restart()
    assert run(append, tmp_path, **replaced) == 0
    await until(lambda: run(written, tmp_path, **replaced) == 0, "the append-only file")

    # then: Redis holds the five, and after a crash too
    assert waiting(start_server(*flags)) == 5
    store.kill()
    store.options = ("--appendonly", "yes")
    store.restart()
    assert redis.Redis.from_url(store.url).info("persistence")["aof_enabled"] == 1
    assert waiting(start_server(*flags)) == 5


def test_a_journal_is_restored_from_its_copy(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    # given: a journal with five events, and its backup
    journal = tmp_path / "journal"
    copy, verify, *restore = commands("The journal")
    server = start_server("--data-dir", str(journal))
    dispatch(server, 5)
    assert server.terminate() == 0
    assert [run(each, tmp_path, journal=str(journal)) for each in (copy, verify)] == [0, 0]

    # when: two more come, and the copy takes the directory's place
    server = start_server("--data-dir", str(journal))
    dispatch(server, 2)
    assert waiting(server) == 7
    assert server.terminate() == 0
    assert [run(each, tmp_path, journal=str(journal)) for each in restore] == [0, 0]

    # then
    assert waiting(start_server("--data-dir", str(journal))) == 5
