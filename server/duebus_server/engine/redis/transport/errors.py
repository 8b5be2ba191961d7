"""What Redis and its client raise, as errors of the domain: one table."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  # the client's name for it
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004  # the client's name for it
)

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.engine.redis.transport.connection import ANSWER_TIMEOUT_S, SlotMovingError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

RETRY_AFTER_US = SECOND

# The first that fits counts, so subclasses stand before their parents.
_WHAT: tuple[tuple[type[BaseException], str], ...] = (
    (AuthenticationError, "Redis refuses the credentials"),
    (TimeoutError, "Redis does not answer"),
    (asyncio.TimeoutError, "Redis does not answer"),
    (BusyLoadingError, "Redis is loading its data"),
    (ReadOnlyError, "this Redis is a replica, and the new primary is not reached yet"),
    (MasterDownError, "this Redis is a replica without its primary"),
    (ClusterDownError, "the Redis cluster is down"),
    (SlotMovingError, "a slot of the Redis cluster is being moved"),
    (ConnectionError, "Redis can't be reached"),
    (OSError, "Redis can't be reached"),
    (OutOfMemoryError, "Redis is out of memory"),
)

_WRONG_TYPE = "WRONGTYPE"
_CODES = {
    "OOM ": "Redis is out of memory",
    "READONLY ": "this Redis is a replica, and the new primary is not reached yet",
    "MISCONF ": "Redis can't save its data to disk, and takes no writes until it can",
    "NOREPLICAS ": "Redis has fewer replicas than its min-replicas-to-write asks for",
}
"""Errors for which the client has no class, or that a script passes on."""


@contextmanager
def as_domain_errors(topic: str) -> Iterator[None]:
    """Turns what Redis raises into DispatcherNotWorking, with a retry delay and the topic in its metadata."""
    try:
        yield
    except (RedisError, OSError) as error:
        raise _not_working(error, topic) from error
    except AttributeError as error:
        if not _is_closed_meanwhile(error):
            raise
        lost = ConnectionError("the connection was closed while it was in use")
        raise _not_working(lost, topic) from lost


@asynccontextmanager
async def asking(topic: str, timeout_s: float = ANSWER_TIMEOUT_S) -> AsyncIterator[None]:
    """As ``as_domain_errors``; the whole block has ``timeout_s`` seconds.

    A call can wait for a free connection and for several answers. What matters to a caller is the sum.
    """
    with as_domain_errors(topic):
        async with asyncio.timeout(timeout_s):
            yield


def is_lost(error: BaseException | None) -> bool:
    """Whether the connection failed, so that it is not known whether the command was carried out."""
    return isinstance(error, ConnectionError | TimeoutError | OSError)


def _not_working(error: BaseException, topic: str) -> DispatcherNotWorking:
    metadata = {"engine": "redis", **({"topic": topic} if topic else {})}
    return DispatcherNotWorking(f"engine redis: {_describe(error)}", metadata=metadata, retry_after_us=RETRY_AFTER_US)


def _is_closed_meanwhile(error: AttributeError) -> bool:
    """Whether the client of a cluster closed this call's connection, because another call on the same node failed.

    The client does not notice, and fails at an attribute that it has set to None.
    """
    return error.obj is None and error.name in ("writelines", "drain")


def _describe(error: BaseException) -> str:
    text = str(error)
    for kind, what in _WHAT:
        if isinstance(error, kind):
            return what
    if _WRONG_TYPE in text:
        return "a key has the wrong type: is another application writing under the same namespace?"
    for code, what in _CODES.items():
        if isinstance(error, ResponseError) and code in text:
            return what
    return f"Redis answers with an error: {text.splitlines()[0][:200] if text else type(error).__name__}"
