"""What Redis and its client raise, as errors of the domain: one table."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from redis.asyncio.sentinel import MasterNotFoundError
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,  # noqa: A004  # the client's name for it
    InvalidResponse,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,  # noqa: A004  # the client's name for it
)

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DispatcherNotWorking, UnusableStorage
from duebus_server.engine.redis.transport.clients import ANSWER_TIMEOUT_S, ClusterUnusableError, SlotMovingError
from duebus_server.engine.redis.transport.credentials import PasswordFileError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from types import UnionType

RETRY_AFTER_US = SECOND

_PASSES, _LASTS = DispatcherNotWorking, UnusableStorage
"""Whether a starting server tries again, or exits."""

_REPLICA = "this Redis is a replica, and the new primary can't be reached yet"
_NO_MEMORY = "Redis is out of memory"

_Row = tuple["type[BaseException] | UnionType", str, str, type[DispatcherNotWorking]]
"""The classes, a pattern in the text, our text and our class."""

# The first match counts, so specific rows come first.
_WHAT: tuple[_Row, ...] = (
    (PasswordFileError, "(.+)", "the password file of Redis can't be read: {}", _PASSES),
    (AuthenticationError, "", "Redis refuses the credentials", _LASTS),
    # The client asks the sentinels, and keeps only the texts of their errors.
    (ConnectionError, r"certificate verify failed: (.+?)\.? \(_ssl", "the certificate of Redis is refused: {}", _LASTS),
    (ConnectionError, r" alert (.+?) \(_ssl", "Redis refuses the TLS connection: {}", _LASTS),
    (MasterNotFoundError, "Authentication", "the sentinels refuse the credentials", _LASTS),
    (MasterNotFoundError, "", "no sentinel names the primary", _PASSES),
    (TimeoutError | asyncio.TimeoutError, "", "Redis does not answer", _PASSES),
    (BusyLoadingError, "", "Redis is loading its data", _PASSES),
    (ReadOnlyError, "", _REPLICA, _PASSES),
    (ResponseError, "READONLY ", _REPLICA, _PASSES),
    (MasterDownError, "", "this Redis is a replica without its primary", _PASSES),
    (ClusterDownError | ClusterUnusableError, "", "the Redis cluster is down", _PASSES),
    (SlotMovingError, "", "a slot of the Redis cluster is being moved", _PASSES),
    (ConnectionError | OSError, "", "Redis can't be reached", _PASSES),
    (OutOfMemoryError, "", _NO_MEMORY, _PASSES),
    (ResponseError, "OOM ", _NO_MEMORY, _PASSES),
    (ResponseError, "MISCONF ", "Redis can't save its data to disk, and accepts no writes until it can", _PASSES),
    (ResponseError, "NOREPLICAS ", "Redis has fewer replicas than its min-replicas-to-write asks for", _PASSES),
    (ResponseError, "run the '(.+)' command", "the Redis user may not run the command '{}'", _LASTS),
    (ResponseError, "access (one|at least one) of the keys", "the Redis user needs ~NAMESPACE:*", _LASTS),
    (ResponseError, "the channel|of the channels", "the Redis user needs &NAMESPACE:*", _LASTS),
    (ResponseError, "cluster support disabled", "this Redis is not a cluster: use a redis:// URL", _LASTS),
    (
        ResponseError,
        "WRONGTYPE",
        "a key has the wrong type: is another application writing under the same namespace?",
        _LASTS,
    ),
    (InvalidResponse, "", "the server that answers is not Redis", _LASTS),
)


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


def is_refused_for_now(error: BaseException | None) -> bool:
    """Whether Redis has refused a command, and accepts it later: a cluster has lost a node, a replica is missing."""
    row = _row(error) if isinstance(error, ResponseError) else None
    return row is not None and row[3] is _PASSES


def _not_working(error: BaseException, topic: str) -> DispatcherNotWorking:
    metadata = {"engine": "redis", **({"topic": topic} if topic else {})}
    what, kind = _describe(_behind(error) if isinstance(error, ClusterUnusableError) else error)
    return kind(f"engine redis: {what}", metadata=metadata, retry_after_us=RETRY_AFTER_US)


def _describe(error: BaseException) -> tuple[str, type[DispatcherNotWorking]]:
    """What has happened, in words, and the error to raise for it."""
    text = str(error)
    row = _row(error)
    if row is not None and (found := re.search(row[1], text)) is not None:
        return row[2].format(*found.groups()), row[3]
    return f"Redis answers with an error: {text.splitlines()[0][:200] if text else type(error).__name__}", _PASSES


def _row(error: BaseException) -> _Row | None:
    """The row of the table for this error."""
    return next((row for row in _WHAT if isinstance(error, row[0]) and re.search(row[1], str(error))), None)


def _behind(error: ClusterUnusableError) -> BaseException:
    """The last error that the client met when it looked for a node of the cluster."""
    cause: BaseException | None = error.__cause__
    while cause is not None and not isinstance(cause, RedisError | OSError):
        cause = cause.__cause__ or cause.__context__
    return cause or error


def _is_closed_meanwhile(error: AttributeError) -> bool:
    """Whether the client of a cluster closed this call's connection, because another call on the same node failed.

    The client does not notice, and fails at an attribute that it has set to None.
    """
    return error.obj is None and error.name in ("writelines", "drain")
