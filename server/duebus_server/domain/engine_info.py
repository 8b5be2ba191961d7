"""An engine as operators see it: its replicas, and the state of its storage.

All times and durations are integer microseconds.
"""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def this_process() -> tuple[str, str]:
    """Where this process runs, and the version of its build, as in ``ReplicaInfo``."""
    return f"{socket.gethostname()}:{os.getpid()}", version("duebus")


@dataclass(frozen=True, slots=True)
class ReplicaInfo:
    """A server process that serves the engine.

    Attributes:
        name: unique among the replicas.
        place: the name of its host, a colon, and its process id; empty if it is of a build that does not tell.
        version: of its build; empty if it does not tell.
        since_us: when it joined the others; None if it does not tell.
        streams: how many streams it has; None while it takes none, because it drains.
        layout: the newest layout of the storage that it reads; None if it is not known.
        is_this: whether it is the one that was asked.
    """

    name: str
    place: str
    version: str
    since_us: int | None
    streams: int | None
    layout: int | None
    is_this: bool


@dataclass(frozen=True, slots=True)
class RedisInfo:
    """A Redis server, or a node of a cluster.

    Attributes:
        address: host and port as the client knows them; empty for the one server of a URL.
        version: of Redis.
        role: ``master`` or ``slave``, in Redis's own words.
        replicas: how many replicas are connected to it.
        uptime_us: how long it has run.
        memory_bytes: what its data takes up.
        max_memory_bytes: the most that it may take up; 0 is unlimited.
        policy: what Redis does when that is reached; empty if it does not tell.
        appends: whether it appends each write to a file (AOF).
        saved_us: when it last saved a snapshot (RDB).
        unsaved_changes: how many writes no snapshot has.
    """

    address: str
    version: str
    role: str
    replicas: int
    uptime_us: int
    memory_bytes: int
    max_memory_bytes: int
    policy: str
    appends: bool
    saved_us: int
    unsaved_changes: int


@dataclass(frozen=True, slots=True)
class JournalInfo:
    """The journal of the local engine.

    Attributes:
        path: its directory.
        fsync: ``always`` or ``everysec``.
        segments: how many files it has.
        size_bytes: what they take up.
        live_bytes: how much of that is still needed.
        oldest_us: when the oldest file was last written.
        synced_us: when it was last synced; None if that was before the start.
        unsynced_bytes: what was recorded since.
        space: ``ample``, ``scarce`` or ``none``: how much room the disk has left.
    """

    path: str
    fsync: str
    segments: int
    size_bytes: int
    live_bytes: int
    oldest_us: int
    synced_us: int | None
    unsynced_bytes: int
    space: str


@dataclass(frozen=True, slots=True)
class EngineInfo:
    """Who serves an engine, and what it stores events in.

    Attributes:
        replicas: those that are alive; this one first.
        layout: the number of the layout of the storage that is written; 0 for none.
        redis: the Redis servers; empty for the local engine.
        journal: the journal; None if there is none.
    """

    replicas: Sequence[ReplicaInfo]
    layout: int = 0
    redis: Sequence[RedisInfo] = ()
    journal: JournalInfo | None = None
