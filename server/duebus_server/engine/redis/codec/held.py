"""Events as another engine held them, as arguments of ``import_events.lua``."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from duebus_server.domain.model import NewEvent
from duebus_server.domain.states import EventState
from duebus_server.engine.redis.codec.attempts import OUTCOMES
from duebus_server.engine.redis.codec.ids import pack_id
from duebus_server.engine.redis.codec.packing import pack_events

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.transfer import HeldCopy, HeldEvent
    from duebus_server.domain.views import Attempt


def arguments(events: Sequence[HeldEvent]) -> list[Any]:
    """The events, none of which is leased. Their ids count as chosen, so that they are remembered once gone."""
    found: list[Any] = [len(events)]
    for event in events:
        new = NewEvent(
            event.event_id, event.body, max_retries=event.max_retries, key=event.key, priority=event.priority
        )
        own = -1 if event.max_retries is None else event.max_retries
        packed = pack_events([new], [pack_id(event.event_id)], event.origin)
        found += (*packed, event.dispatched_us, json.dumps([_copy(copy, own) for copy in event.copies]))
    return found


def _copy(copy: HeldCopy, max_retries: int) -> list[Any]:
    is_dead = copy.state is EventState.DEAD
    return [
        copy.group,
        int(is_dead),
        copy.deliver_at_us,
        copy.dead_us if is_dead else copy.deliver_at_us,
        copy.attempts,
        copy.free_attempts,
        max_retries,
        copy.last_error,
        [_attempt(one) for one in copy.history],
        int(copy.pinned),
    ]


def _attempt(attempt: Attempt) -> list[Any]:
    redriven = [] if attempt.redriven_us is None else [attempt.redriven_us]
    outcome = OUTCOMES.index(attempt.outcome)
    return [attempt.attempt, attempt.started_us, attempt.ended_us, attempt.consumer, outcome, attempt.error, *redriven]
