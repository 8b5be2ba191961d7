"""A Redis that records the keys that scripts touch without declaring them, which a cluster would refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from duebus_server.engine.redis import PartitionedEngine
    from duebus_server.engine.redis.transport.script_client import ScriptClient

CHECK = """
local real, declared = redis, {}
for _, key in ipairs(KEYS) do
  declared[key] = true
end
local WITHOUT = { TIME = true, PUBLISH = true }
local MANY = { EXISTS = true, UNLINK = true, DEL = true, RENAME = true, RENAMENX = true }

local function check(command, key, ...)
  if WITHOUT[command] then
    return
  end
  for _, one in ipairs(MANY[command] and { key, ... } or { key }) do
    if not declared[one] then
      real.call('SADD', ARGV[4] .. ':undeclared', command .. ' ' .. one)
    end
  end
end

local redis = {
  call = function(...)
    check(...)
    return real.call(...)
  end,
  pcall = function(...)
    check(...)
    return real.pcall(...)
  end,
}
"""


class CheckedScripts:
    """Runs scripts with CHECK in front of them. Everything else goes to the wrapped client."""

    def __init__(self, scripts: ScriptClient, load: Callable[[str], Awaitable[str]]) -> None:
        self._scripts = scripts
        self._load = load
        self._digests: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scripts, name)

    async def evalsha(self, digest: str, *rest: Any) -> Any:
        """Run the checked form of a script."""
        if digest not in self._digests:
            raise NoScriptError("its checked form is not there yet")
        return await self._scripts.evalsha(self._digests[digest], *rest)

    async def eval(self, source: str, *rest: Any) -> Any:
        """Load the checked form of a script, and run it."""
        plain = await self._load(source)
        self._digests[plain] = await self._load(CHECK + source)
        return await self.evalsha(plain, *rest)


def check_keys_of(engine: PartitionedEngine) -> None:
    """Make an engine declare keys as on a cluster, and each of its scripts record the undeclared keys it touches."""
    connection: Any = engine._engine._runner.connection
    connection.checks_keys = True
    connection.scripts = CheckedScripts(connection.scripts, connection.redis.script_load)


async def undeclared_keys(engine: PartitionedEngine) -> set[bytes]:
    """The commands that touched a key that was not declared."""
    runner = engine._engine._runner
    found: set[bytes] = await runner.connection.redis.smembers(f"{runner.keys.namespace}:undeclared")
    return found
