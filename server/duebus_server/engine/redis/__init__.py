"""The redis engine: events in Redis, as durable as that Redis is, shared by any number of replicas."""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from duebus_server.engine.redis.engine import RedisEngine
from duebus_server.engine.redis.keys import Keys
from duebus_server.engine.redis.locks import Locks
from duebus_server.engine.redis.partitioned.engine import PartitionedEngine
from duebus_server.engine.redis.partitioned.partition_count import Partitioning
from duebus_server.engine.redis.replicas.layouts import LAYOUT, Layouts
from duebus_server.engine.redis.transport.connection import Connection
from duebus_server.engine.redis.transport.credentials import Credentials, PasswordFileError
from duebus_server.engine.redis.transport.runner import Runner
from duebus_server.engine.redis.transport.url import RedisUrlError

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.domain.clock import Clock
    from duebus_server.domain.views import TopicConfig

__all__ = ["Credentials", "PartitionedEngine", "PasswordFileError", "RedisUrlError", "make_redis_engine"]


def make_redis_engine(
    url: str,
    namespace: str,
    clock: Clock,
    defaults: TopicConfig,
    *,
    credentials: Credentials | None = None,
    min_replicas_ack: int = 0,
    frozen_now: Callable[[], int] | None = None,
    layout: int = LAYOUT,
) -> PartitionedEngine:
    """The engine of a new replica, not yet started.

    Args:
        url: where Redis is; see ``connection.Connection``.
        namespace: the prefix of all keys; replicas with the same one on the same Redis are one bus.
        clock: measures the time between two answers of Redis; it never decides when an event is due.
        defaults: the settings of topics.
        credentials: take precedence over those in the URL.
        min_replicas_ack: how many replicas of Redis must have a dispatch before it is answered.
        frozen_now: a test's clock instead of Redis's TIME, in microseconds.
        layout: the newest layout that it reads; for tests of other layouts.

    Raises:
        RedisUrlError: the URL does not name a Redis, or names one that can't do what the other arguments require.
        PasswordFileError: the file with the password can't be read.
    """
    connection = Connection(url, credentials)
    if min_replicas_ack and connection.is_cluster:
        raise RedisUrlError("min_replicas_ack is not supported on a cluster")
    runner = Runner(connection, Keys(namespace), secrets.token_hex(4), clock, frozen_now, min_replicas_ack)
    locks = Locks(runner)
    engine = RedisEngine(runner, locks, Layouts(runner, layout), defaults)
    return PartitionedEngine(engine, runner, Partitioning(runner, locks, engine), defaults)
