"""Dispatches to a topic with several partitions: where each event belongs, and the result of the whole request.

An event's partition follows from its own id if the client chose one, else from its request. So a repeated request sends
every event to the same partition as before, and ids are unique although each partition knows only its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DueBusError, Moved, PartialDispatch
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, EngineName
from duebus_server.engine.redis.partition import partition_number
from duebus_server.engine.redis.tasks import all_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from duebus_server.domain.model import NewEvent
    from duebus_server.engine.redis.partition import Partition

    Outcome = DispatchAnswer | DueBusError
    Dispatch = Callable[[Partition, Sequence[DispatchRequest]], Awaitable[Sequence[Outcome]]]


def belongs_to(request: DispatchRequest, event: NewEvent) -> str:
    """The text whose hash gives an event's partition. If events ever get keys, a key takes precedence."""
    if not event.id_is_generated:
        return event.id
    return request.request_id or request.events[0].id


@dataclass(slots=True)
class Part(DispatchRequest):
    """The events of a request that belong to one partition.

    Attributes:
        whole_identity: that of the whole request, so that another request under the same id is noticed.
    """

    whole_identity: int = 0

    def identity(self) -> int:
        """The same for every repetition of the whole request."""
        return self.whole_identity


@dataclass(slots=True)
class Progress:
    """The progress of a request.

    Attributes:
        left: the places of the events that are not stored yet.
        stored: the ids of the others by their places.
        duplicates: the ids that added nothing, by their places.
        errors: why parts have failed, by the places of their first events.
    """

    request: DispatchRequest
    left: list[int]
    stored: dict[int, str] = field(default_factory=dict)
    duplicates: dict[int, str] = field(default_factory=dict)
    errors: dict[int, DueBusError] = field(default_factory=dict)

    @classmethod
    def of(cls, request: DispatchRequest) -> Progress:
        """The progress of a request that has not begun."""
        return cls(request, list(range(len(request.events))))

    @property
    def is_to_go_on(self) -> bool:
        """Whether events are left, and only a change of the partitions has stopped them."""
        return bool(self.left) and all(isinstance(error, Moved) for error in self.errors.values())

    def parts(self, count: int) -> list[tuple[int, list[int]]]:
        """What is left for each of ``count`` partitions: its number, and the events' places."""
        places: dict[int, list[int]] = defaultdict(list)
        for place in self.left:
            event = self.request.events[place]
            places[partition_number(belongs_to(self.request, event), count)].append(place)
        return list(places.items())

    def part(self, places: list[int]) -> DispatchRequest:
        """The events at these places as a request to their partition."""
        request = self.request
        if len(places) == len(request.events):
            return request
        return Part(
            [request.events[place] for place in places],
            request.request_id,
            request.require_subscriber,
            request.origin,
            request.identity() if request.request_id else 0,
        )

    def heard(self, places: list[int], outcome: Outcome) -> None:
        """Take note of a partition's answer for the events at these places."""
        if isinstance(outcome, DueBusError):
            self.errors[places[0]] = outcome
            return
        self.stored.update(zip(places, outcome.event_ids, strict=True))
        unplaced = Counter(outcome.duplicate_event_ids)
        # Of events of the same id only the first can be new.
        for place, event_id in zip(reversed(places), reversed(outcome.event_ids), strict=True):
            if unplaced[event_id] > 0:
                unplaced[event_id] -= 1
                self.duplicates[place] = event_id
        self.left = [place for place in self.left if place not in self.stored]

    def outcome(self) -> Outcome:
        """The answer to the whole request."""
        stored = [self.stored[place] for place in sorted(self.stored)]
        if not self.left:
            return DispatchAnswer(stored, [self.duplicates[place] for place in sorted(self.duplicates)])
        lasting = {place: error for place, error in self.errors.items() if not isinstance(error, Moved)}
        first = min(lasting or self.errors)
        error = self.errors[first]
        return PartialDispatch(error, [EngineName.REDIS], stored) if stored else error


async def dispatch_in(partitions: Sequence[Partition], requests: Sequence[Progress], dispatch: Dispatch) -> None:
    """Send what is left of the requests to these partitions. Each gets all of its parts in one step."""
    by_number: dict[int, list[tuple[Progress, list[int]]]] = defaultdict(list)
    for request in requests:
        request.errors.clear()
        for number, places in request.parts(len(partitions)):
            by_number[number].append((request, places))

    async def send(partition: Partition, parts: list[tuple[Progress, list[int]]]) -> None:
        try:
            outcomes = await dispatch(partition, [request.part(places) for request, places in parts])
        except DueBusError as error:  # the others go on
            outcomes = [error] * len(parts)
        for (request, places), outcome in zip(parts, outcomes, strict=True):
            request.heard(places, outcome)

    await all_of([send(partitions[number], parts) for number, parts in by_number.items()])
