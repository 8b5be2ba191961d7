"""Bounds the number of labels: topics and groups are named by clients, who may make up any number of names."""

from __future__ import annotations

OTHER = "other"

GROUPS_OF_A_TOPIC = 50
"""How many groups of a topic have metrics of their own."""


class Labels:
    """Which topics and groups have metrics of their own: the first that came.

    Args:
        topics: how many topics; the others are ``other`` together.
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
        groups = self._groups[topic]
        if group in groups:
            return topic, group
        if len(groups) >= GROUPS_OF_A_TOPIC:
            return topic, OTHER
        groups.add(group)
        return topic, group
