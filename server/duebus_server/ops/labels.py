"""Bounds the number of labels: clients choose the names of topics and groups, and may make up any number of them."""

from __future__ import annotations

from duebus_server.domain.group_names import is_new_each_time

OTHER = "other"

EPHEMERAL = "ephemeral"
"""The label of all ephemeral groups of a topic that the server has named: those names are never used again."""

GROUPS_OF_A_TOPIC = 50
"""How many groups of a topic have their own metrics."""


class Labels:
    """Which topics and groups have their own metrics: the first ones seen.

    Args:
        topics: how many topics; the rest share the label ``other``.
    """

    def __init__(self, topics: int) -> None:
        self._topics = topics
        self._groups: dict[str, set[str]] = {}

    def topic(self, topic: str) -> str:
        """The label of a topic."""
        if topic in self._groups:
            return topic
        if len(self._groups) >= self._topics:
            return OTHER
        self._groups[topic] = set()
        return topic

    def group(self, topic: str, group: str) -> tuple[str, str]:
        """The labels of a topic and its group."""
        if self.topic(topic) == OTHER:
            return OTHER, OTHER
        if is_new_each_time(group):
            return topic, EPHEMERAL
        groups = self._groups[topic]
        if group in groups:
            return topic, group
        if len(groups) >= GROUPS_OF_A_TOPIC:
            return topic, OTHER
        groups.add(group)
        return topic, group
