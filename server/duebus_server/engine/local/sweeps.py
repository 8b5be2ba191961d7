"""Which topics a sweep has to check. One that nobody uses costs nothing before something in it is due."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.engine.local.due_index import DueIndex, sort_key

if TYPE_CHECKING:
    from duebus_server.engine.local.topic import Topic


class Sweeps:
    """The topics that were used since the last sweep checked them, and the times of the others."""

    def __init__(self) -> None:
        self._used: dict[Topic, None] = {}
        self._waiting: DueIndex[Topic] = DueIndex()
        self._last_number = 0

    def use(self, topic: Topic) -> None:
        """A verb may change something in the topic."""
        self._used[topic] = None
        topic.idle_info = None

    def due(self, now_us: int) -> list[Topic]:
        """The topics to check now. ``checked`` must follow for each that still exists."""
        found = dict(self._used)
        for at_us, _, topic in self._waiting.ascending():
            if at_us > now_us:
                break
            found[topic] = None
        return list(found)

    def checked(self, topic: Topic, next_us: int | None) -> None:
        """The topic need not be checked before ``next_us``, or at all if that is None, unless it is used."""
        self.forget(topic)
        if next_us is not None:
            self._last_number += 1
            topic.sweep_key = sort_key(max(0, next_us), self._last_number)
            self._waiting.add(topic.sweep_key, topic)

    def forget(self, topic: Topic) -> None:
        """The topic is gone."""
        self._used.pop(topic, None)
        if topic.sweep_key is not None:
            self._waiting.remove(topic.sweep_key)
            topic.sweep_key = None
