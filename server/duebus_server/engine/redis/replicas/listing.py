"""Which replicas are alive, as operators see them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.engine_info import ReplicaInfo
from duebus_server.engine.redis.transport.errors import asking

if TYPE_CHECKING:
    from collections.abc import Mapping

    from duebus_server.engine.redis.transport.runner import Runner


async def living_replicas(runner: Runner) -> list[ReplicaInfo]:
    """The replicas that are alive, this one first, then by name.

    Raises:
        DispatcherNotWorking: Redis can't be reached or refuses the command.
    """
    keys, redis = runner.keys, runner.connection.redis
    async with asking(""):
        alive = await redis.zrangebyscore(keys.replicas, f"({runner.now_us()}", "+inf")
        about, reads, streams = [
            await redis.hgetall(key) for key in (keys.replicas_about, keys.layouts_read, keys.streams)
        ]
    found = [_info(name, about, reads, streams, runner.replica) for name in alive]
    return sorted(found, key=lambda one: (not one.is_this, one.name))


def _info(
    name: bytes,
    about: Mapping[bytes, bytes],
    reads: Mapping[bytes, bytes],
    streams: Mapping[bytes, bytes],
    this: str,
) -> ReplicaInfo:
    since, version, place = (*about.get(name, b"").decode(errors="replace").split(" ", 2), "", "", "")[:3]
    text = name.decode(errors="replace")
    return ReplicaInfo(
        name=text,
        place=place,
        version=version,
        since_us=int(since) if since.isdecimal() else None,
        streams=_number(streams.get(name)),
        layout=_number(reads.get(name)),
        is_this=text == this,
    )


def _number(text: bytes | None) -> int | None:
    return int(text) if text is not None and text.isdigit() else None
