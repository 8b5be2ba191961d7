"""A Redis that records the keys that scripts touch without declaring them, which a cluster would refuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from redis.exceptions import NoScriptError

if TYPE_CHECKING:
    from duebus_server.engine.redis import PartitionedEngine

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


class CheckedRedis:
    """A client whose scripts run with CHECK in front of them. Everything else goes to the wrapped client."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._digests: dict[str, str] = {}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def evalsha(self, digest: str, *rest: Any) -> Any:
        """Run the checked form of a script."""
        if digest not in self._digests:
            raise NoScriptError("its checked form is not there yet")
        return await self._client.evalsha(self._digests[digest], *rest)

    async def eval(self, source: str, *rest: Any) -> Any:
        """Load the checked form of a script, and run it."""
        plain = await self._client.script_load(source)
        self._digests[plain] = await self._client.script_load(CHECK + source)
        return await self._client.evalsha(self._digests[plain], *rest)


def check_keys_of(engine: PartitionedEngine) -> None:
    """Make an engine declare keys as on a cluster, and each of its scripts record the undeclared keys it touches."""
    connection = engine._engine._runner.connection
    connection.checks_keys = True
    connection.redis = CheckedRedis(connection.redis)


async def undeclared_keys(engine: PartitionedEngine) -> set[bytes]:
    """The commands that touched a key that was not declared."""
    runner = engine._engine._runner
    found: set[bytes] = await runner.connection.redis.smembers(f"{runner.keys.namespace}:undeclared")
    return found
