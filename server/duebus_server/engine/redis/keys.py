"""The only place a key is built. What each holds stands in ``DATA_MODEL.md``.

All keys of a topic, or of one of its partitions, share a hash tag, so a script can touch all of them on a cluster.
"""

from __future__ import annotations

# The same for the scripts: a script is given the topic's prefix and builds the rest with these.
LUA_KEYS = """
local function topic_key(name)
  return ARGV[1] .. name
end

local function group_key_of(prefix, group, name)
  return prefix .. 'group:' .. group .. ':' .. name
end

local function group_key(group, name)
  return group_key_of(ARGV[1], group, name)
end
"""


class Keys:
    """The keys and channels of one bus.

    Args:
        namespace: what all of them begin with.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    @property
    def secret(self) -> str:
        """What proves lease tokens genuine."""
        return f"{self.namespace}:secret"

    @property
    def topics(self) -> str:
        """The names of all topics."""
        return f"{self.namespace}:topics"

    @property
    def deleting(self) -> str:
        """Topics in which events of deleted groups may be left."""
        return f"{self.namespace}:deleting"

    @property
    def forgetting(self) -> str:
        """Topics with a dead-letter retention of their own."""
        return f"{self.namespace}:forgetting"

    @property
    def partitions(self) -> str:
        """The partitions of topics that have several."""
        return f"{self.namespace}:partitions"

    @property
    def replicas(self) -> str:
        """The replicas that are alive, by when they are to be taken for dead."""
        return f"{self.namespace}:replicas"

    def replica_groups(self, replica: str) -> str:
        """The groups in which a replica has sessions."""
        return f"{self.namespace}:replica:{replica}:groups"

    def lock(self, name: str) -> str:
        """A distributed lock."""
        return f"{self.namespace}:{{lock:{name}}}"

    def fence(self, name: str) -> str:
        """The last fencing number of a lock."""
        return f"{self.namespace}:{{lock:{name}}}:fence"

    @property
    def wake_channel(self) -> str:
        """Tells every replica that a group has something due sooner than it will look."""
        return f"{self.namespace}:wake"

    @property
    def changes_channel(self) -> str:
        """Tells every replica of deletions and of changed settings."""
        return f"{self.namespace}:changes"

    def replica_channel(self, replica: str) -> str:
        """Tells one replica which leases of its sessions have ended."""
        return f"{self.namespace}:replica:{replica}"

    def topic_prefix(self, topic: str) -> str:
        """What the keys of a topic begin with."""
        return f"{self.namespace}:{{{topic}}}:"

    def topic(self, topic: str, name: str) -> str:
        """A key of a topic."""
        return f"{self.topic_prefix(topic)}{name}"

    def group(self, topic: str, group: str, name: str) -> str:
        """A key of a group; the group without a name holds what no group has claimed."""
        return f"{self.topic_prefix(topic)}group:{group}:{name}"
