"""Loads the Lua scripts and runs them.

A script is one transition. The loader puts in front of each what it shares with others: the key functions of
``keys.py``, ``common.lua``, the files it names in lines ``-- includes NAME``, and ``moved.lua``, unless it has the line
``-- runs on closed partitions too``.
"""

from __future__ import annotations

import re
from functools import cache
from hashlib import sha1
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

from duebus_server.engine.redis.keys import LUA_KEYS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

_INCLUDES = re.compile(r"^-- includes (\w+)$", re.MULTILINE)
_RUNS_ON_CLOSED = "\n-- runs on closed partitions too\n"


class Script:
    """A Lua script, run by its digest; sent whole when Redis does not know it (any more)."""

    def __init__(self, name: str) -> None:
        self.name = name
        own = _source(name)
        shared = ["common", *([] if _RUNS_ON_CLOSED in own else ["moved"]), *_INCLUDES.findall(own)]
        self._source = "\n".join([LUA_KEYS, *map(_source, shared), own])
        self._digest = sha1(self._source.encode(), usedforsecurity=False).hexdigest()

    async def run(self, redis: Redis, key: str, arguments: Sequence[Any]) -> Any:
        """Run it on the node that has ``key``.

        A script that Redis has forgotten (restart, failover, SCRIPT FLUSH) is sent again; nothing has run then, so
        that is safe.

        Raises:
            RedisError: as the client does.
        """
        try:
            return await redis.evalsha(self._digest, 1, key, *arguments)
        except NoScriptError:
            return await redis.eval(self._source, 1, key, *arguments)


@cache
def _source(name: str) -> str:
    return (files("duebus_server.engine.redis") / "lua" / f"{name}.lua").read_text()
