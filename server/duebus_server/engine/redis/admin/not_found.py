"""Turns the admin scripts' answers about missing things into NotFound; see ``naming.lua``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import DEFAULT_GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.redis.partition import Partition


def check_found(missing: bytes, partition: Partition, group: str | None = None, event_ids: Sequence[str] = ()) -> None:
    """Return if nothing is missing.

    Args:
        missing: the missing topic, group or event, as the script answered it.
        partition: the partition that the script ran on.
        group: as the request named it.
        event_ids: the first is the missing event.

    Raises:
        NotFound: there is no such topic, group or event.
    """
    topic = partition.topic
    if missing == b"topic":
        raise NotFound("topic", topic)
    if missing == b"group":
        raise NotFound("group", group or DEFAULT_GROUP, topic=topic)
    if missing == b"event":
        raise NotFound("event", event_ids[0], topic=topic)
