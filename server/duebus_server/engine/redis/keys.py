"""The only place where keys and channels are built. ``DATA_MODEL.md`` describes each key.

All keys of a topic, or of one of its partitions, share a hash tag, so they are in one slot of a cluster and one script
can use all of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from duebus_server.engine.redis.partition import Partition

TOPIC_KEYS = (
    "events", "refs", "groups", "config", "meta", "recent", "requests", "requests:earlier", "deleted", "schedules",
    "schedules:due", "minutes",
)  # fmt: skip
"""Every key of a topic itself."""

GROUP_KEYS = (
    "waiting", "suspects", "prioritized", "ranked", "leased", "dead", "upcoming", "blocked", "by_key", "keys",
    "slots", "opens", "tats", "pauses", "records", "sessions", "in_flight", "group", "rates",
)  # fmt: skip
"""Every key of a group."""

ASIDE_KEYS = ("waiting", "suspects", "prioritized", "leased", "dead", "upcoming", "blocked")
"""The keys put aside when a group is deleted."""

# The same functions for the scripts. A script gets the topic's prefix as ARGV[1] and builds the rest.
LUA_KEYS = f"""
local TOPIC_KEY_COUNT, GROUP_KEY_COUNT = {len(TOPIC_KEYS)}, {len(GROUP_KEYS)}

local function topic_key_names()
  return {{ {", ".join(f"'{name}'" for name in TOPIC_KEYS)} }}
end

local function group_key_names()
  return {{ {", ".join(f"'{name}'" for name in GROUP_KEYS)} }}
end

local function topic_key(name)
  return ARGV[1] .. name
end

local function group_key_of(prefix, group, name)
  return prefix .. 'group:' .. group .. ':' .. name
end

local function group_key(group, name)
  return group_key_of(ARGV[1], group, name)
end

-- How many partitions a topic has, from the prefix of one of them.
local function partitions_in(prefix)
  return tonumber(string.match(prefix, '/(%d+)/%d+}}:$') or 1)
end

local function aside_key(deletion, name)
  return topic_key('deleted:' .. deletion .. ':' .. name)
end

local function wake_channel()
  return ARGV[4] .. ':wake'
end

local function changes_channel()
  return ARGV[4] .. ':changes'
end

local function schedules_channel()
  return ARGV[4] .. ':schedules'
end

local function replica_channel(replica)
  return ARGV[4] .. ':replica:' .. replica
end
"""


class Keys:
    """The keys and channels of one bus.

    Args:
        namespace: the prefix of all of them.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    @property
    def secret(self) -> str:
        """The secret that lease tokens are signed with."""
        return f"{self.namespace}:secret"

    @property
    def topics(self) -> str:
        """The names of all topics."""
        return f"{self.namespace}:topics"

    @property
    def deleting(self) -> str:
        """Topics that may still have events of deleted groups."""
        return f"{self.namespace}:deleting"

    @property
    def ephemeral(self) -> str:
        """Ephemeral groups that may have no session left, by when to check whether they can be removed."""
        return f"{self.namespace}:ephemeral"

    @property
    def retention(self) -> str:
        """Topics with their own dead-letter retention."""
        return f"{self.namespace}:retention"

    @property
    def actions(self) -> str:
        """What operators did, the latest first."""
        return f"{self.namespace}:actions"

    @property
    def schedules(self) -> str:
        """Where each schedule is, by name."""
        return f"{self.namespace}:schedules"

    @property
    def layout(self) -> str:
        """The number of the layout that is written."""
        return f"{self.namespace}:layout"

    @property
    def replicas(self) -> str:
        """The living replicas, by when the others consider them dead; in the slot of ``layout``."""
        return f"{self.namespace}:{{{self.layout}}}:replicas"

    @property
    def layouts_read(self) -> str:
        """The newest layout that each replica reads; in the slot of ``layout``."""
        return f"{self.namespace}:{{{self.layout}}}:reads"

    @property
    def streams(self) -> str:
        """How many streams each replica has; in the slot of ``layout``."""
        return f"{self.namespace}:{{{self.layout}}}:streams"

    @property
    def replicas_about(self) -> str:
        """When each replica joined, its version, host and process; in the slot of ``layout``."""
        return f"{self.namespace}:{{{self.layout}}}:about"

    def replica_groups(self, replica: str) -> str:
        """The groups in which a replica has sessions."""
        return f"{self.namespace}:replica:{replica}:groups"

    def lock(self, name: str) -> str:
        """A distributed lock."""
        return f"{self.namespace}:{{lock:{name}}}"

    @property
    def wake_channel(self) -> str:
        """Announces to every replica that a group has something due sooner than expected."""
        return f"{self.namespace}:wake"

    @property
    def schedules_channel(self) -> str:
        """Announces to every replica that a topic has a schedule due sooner than any that it had before."""
        return f"{self.namespace}:schedules"

    @property
    def changes_channel(self) -> str:
        """Announces deletions and changed settings to every replica."""
        return f"{self.namespace}:changes"

    def replica_channel(self, replica: str) -> str:
        """Announces to one replica which leases of its sessions have ended."""
        return f"{self.namespace}:replica:{replica}"

    def topic_prefix(self, partition: Partition) -> str:
        """The prefix of a topic's keys."""
        return f"{self.namespace}:{{{partition.hash_tag}}}:"

    def topic(self, partition: Partition, name: str) -> str:
        """A key of a topic."""
        return f"{self.topic_prefix(partition)}{name}"

    def of_topic(self, partition: Partition, groups: Iterable[str] = ()) -> list[str]:
        """Every key of a topic and of these groups of it, in the order of ``KEYS`` in the scripts."""
        prefix = self.topic_prefix(partition)
        keys = [prefix + name for name in TOPIC_KEYS]
        for group in groups:
            keys += [f"{prefix}group:{group}:{name}" for name in GROUP_KEYS]
        return keys

    def aside(self, partition: Partition, deletion: str) -> list[str]:
        """Where the events of a deleted group wait to be released."""
        prefix = self.topic_prefix(partition)
        return [f"{prefix}deleted:{deletion}:{name}" for name in ASIDE_KEYS]
