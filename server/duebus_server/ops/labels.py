"""Bounds the number of labels: clients choose the names of topics and groups, and may make up any number of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.group_names import is_new_each_time

if TYPE_CHECKING:
    from collections.abc import Iterable

OTHER = "other"

EPHEMERAL = "ephemeral"
"""The label of all ephemeral groups of a topic that the server has named: those names are never used again."""

GROUPS_OF_A_TOPIC = 50
"""How many groups of a topic have their own metrics."""


class Labels:
    """Which topics and groups have their own counters: the first ones seen, and topics in trouble.

    A topic that has them keeps them, because a counter must not go back.

    Args:
        topics: how many topics of either kind; the rest share the label ``other``.
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

    def add_troubled(self, topics: Iterable[str]) -> None:
        """Give these topics labels of their own from now on, as far as there is room for them."""
        for topic in topics:
            if topic not in self._groups and len(self._groups) < 2 * self._topics:
                self._groups[topic] = set()

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
