"""What the scripts of operators answer when there is nothing of the name that a request has; see ``naming.lua``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from duebus_server.domain.errors import NotFound
from duebus_server.domain.model import DEFAULT_GROUP

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.redis.partition import Partition


def check_found(missing: bytes, partition: Partition, group: str | None = None, event_ids: Sequence[str] = ()) -> None:
    """Go on if nothing is missing.

    Args:
        missing: what there is none of, as the script answered.
        partition: where the script has looked.
        group: as the request named it.
        event_ids: the first is the event that there is not.

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
