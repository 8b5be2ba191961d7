"""Dispatches to a topic with several partitions: where each event belongs, and the result of the whole request.

An event's partition follows from its key; without one, from its id if the client chose it; else from its request. So a
repeated request sends every event to the same partition as before, and ids are unique among the events of a key, or
without one, although each partition knows only its own.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from duebus_server.domain.errors import DueBusError, PartialDispatch, PartitionsChanging
from duebus_server.domain.model import DispatchAnswer, DispatchRequest, EngineName
from duebus_server.engine.redis.partition import partition_number
from duebus_server.engine.redis.tasks import all_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from duebus_server.domain.model import LeaseRequest, NewEvent, Reservation
    from duebus_server.engine.redis.partition import Partition

    Outcome = DispatchAnswer | DueBusError
    Dispatch = Callable[[Partition, Sequence[DispatchRequest], Sequence[Reservation]], Awaitable[Sequence[Outcome]]]


def belongs_to(request: DispatchRequest, event: NewEvent) -> str:
    """The text whose hash gives an event's partition."""
    if event.key:
        return event.key
    if not event.id_is_generated:
        return event.id
    return request.request_id or request.events[0].id


def partition_of(partitions: Sequence[Partition], text: str) -> Partition:
    """The partition of events that belong to this text."""
    return partitions[partition_number(text, len(partitions))] if len(partitions) > 1 else partitions[0]


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
        left: the indexes of the events that are not stored yet.
        stored: the ids of the others by their indexes.
        duplicates: the ids that added nothing, by their indexes.
        errors: why parts have failed, by the indexes of their first events.
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
    def has_more_to_store(self) -> bool:
        """Whether events are left, and only a change of the partitions has stopped them."""
        return bool(self.left) and all(isinstance(error, PartitionsChanging) for error in self.errors.values())

    def parts(self, count: int) -> list[tuple[int, list[int]]]:
        """What is left for each of ``count`` partitions: its number, and the events' indexes."""
        by_partition: dict[int, list[int]] = defaultdict(list)
        for index in self.left:
            event = self.request.events[index]
            by_partition[partition_number(belongs_to(self.request, event), count)].append(index)
        return list(by_partition.items())

    def part(self, indexes: list[int]) -> DispatchRequest:
        """The events at these indexes as a request to their partition."""
        request = self.request
        if len(indexes) == len(request.events):
            return request
        return Part(
            [request.events[index] for index in indexes],
            request.request_id,
            request.require_subscriber,
            request.origin,
            request.identity() if request.request_id else 0,
        )

    def add_answer(self, indexes: list[int], outcome: Outcome) -> None:
        """Add a partition's answer for the events at these indexes."""
        if isinstance(outcome, DueBusError):
            self.errors[indexes[0]] = outcome
            return
        self.stored.update(zip(indexes, outcome.event_ids, strict=True))
        unplaced = Counter(outcome.duplicate_event_ids)
        # Of events of the same id only the first can be new.
        for index, event_id in zip(reversed(indexes), reversed(outcome.event_ids), strict=True):
            if unplaced[event_id] > 0:
                unplaced[event_id] -= 1
                self.duplicates[index] = event_id
        self.left = [index for index in self.left if index not in self.stored]

    def outcome(self) -> Outcome:
        """The answer to the whole request."""
        stored = [self.stored[index] for index in sorted(self.stored)]
        if not self.left:
            return DispatchAnswer(stored, [self.duplicates[index] for index in sorted(self.duplicates)])
        lasting = {index: error for index, error in self.errors.items() if not isinstance(error, PartitionsChanging)}
        first = min(lasting or self.errors)
        error = self.errors[first]
        return PartialDispatch(error, [EngineName.REDIS], stored) if stored else error


async def dispatch_in(
    partitions: Sequence[Partition],
    requests: Sequence[Progress],
    reservations: Sequence[Reservation],
    dispatch: Dispatch,
) -> None:
    """Send what is left of the requests to these partitions. Each gets all of its parts in one step, and may fill its
    share of each reservation.
    """
    by_number: dict[int, list[tuple[Progress, list[int]]]] = defaultdict(list)
    for request in requests:
        request.errors.clear()
        for number, indexes in request.parts(len(partitions)):
            by_number[number].append((request, indexes))

    due = _due_sizes(by_number) if reservations else []
    shares = [(reservation, shares_of(reservation.request, due)) for reservation in reservations]

    async def send(partition: Partition, parts: list[tuple[Progress, list[int]]]) -> None:
        number = partition.number
        own = [replace(one, request=share.get(number, _nothing_of(one.request))) for one, share in shares]
        try:
            outcomes = await dispatch(partition, [request.part(indexes) for request, indexes in parts], own)
        except DueBusError as error:  # the other parts continue
            outcomes = [error] * len(parts)
        for (request, indexes), outcome in zip(parts, outcomes, strict=True):
            request.add_answer(indexes, outcome)

    await all_of([send(partitions[number], parts) for number, parts in by_number.items()])


def _due_sizes(parts: Mapping[int, Sequence[tuple[Progress, list[int]]]]) -> list[tuple[int, int]]:
    """The partition and size of each event that may be due at once, those of the highest priority first."""
    due = [
        (number, request.request.events[index])
        for number, those in parts.items()
        for request, indexes in those
        for index in indexes
        if not request.request.events[index].delay_us
    ]
    due.sort(key=lambda one: -one[1].priority)
    return [(number, len(event.body)) for number, event in due]


def shares_of(request: LeaseRequest, due: Sequence[tuple[int, int]]) -> dict[int, LeaseRequest]:
    """Split a reservation among partitions: each gets what its events need, until one does not fit.

    Args:
        request: the limits of what the session can take.
        due: the partition and size of each event.

    Returns:
        The share of each partition that has one, by number.
    """
    counts: Counter[int] = Counter()
    sizes: Counter[int] = Counter()
    bytes_left = request.max_bytes
    for number, size in due[: request.max_events]:
        bytes_left -= size
        if bytes_left < 0 and (counts or not request.at_least_one):
            break
        counts[number] += 1
        sizes[number] += size
    return {
        number: replace(request, max_events=count, max_bytes=sizes[number], at_least_one=False)
        for number, count in counts.items()
    }


def _nothing_of(request: LeaseRequest) -> LeaseRequest:
    return replace(request, max_events=0, max_bytes=0, at_least_one=False)
