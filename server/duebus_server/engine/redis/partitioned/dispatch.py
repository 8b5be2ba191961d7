"""Dispatches to a topic over several partitions: which request goes where, and ids that are unique over all of them."""

from __future__ import annotations

from collections import defaultdict
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol

from duebus_server.domain.errors import DueBusError
from duebus_server.engine.redis.codec import dispatch as dispatching
from duebus_server.engine.redis.partitioned.partitions import all_of, home_of, topic_of
from duebus_server.engine.redis.partitioned.pins import ALWAYS_US, Pin

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from duebus_server.domain.model import DispatchAnswer, DispatchRequest
    from duebus_server.engine.redis.partitioned.pins import Pins

    Outcome = DispatchAnswer | DueBusError

ATTEMPTS = 3
"""So often a request is sent to its partition, when it turns out there that events of it may be in others."""


class Dispatch(Protocol):
    """Stores requests in one partition."""

    async def __call__(
        self, topic: str, requests: Sequence[DispatchRequest], flat: Iterable[Sequence[Any]], /, *last: int
    ) -> list[list[int]]:
        """What ``dispatch.lua`` answers to each."""


class Spreading:
    """Sends requests to partitions.

    Args:
        dispatch: to one partition.
        pins: of ids that clients chose.
    """

    def __init__(self, dispatch: Dispatch, pins: Pins) -> None:
        self._dispatch = dispatch
        self._pins = pins
        self._turns = count()

    async def dispatch(self, names: Sequence[str], requests: Sequence[DispatchRequest]) -> list[Outcome]:
        """What becomes of each request; a partition that fails is the affair of its own requests alone."""
        there: dict[str, list[int]] = defaultdict(list)
        for place, request in enumerate(requests):
            there[names[self._target(request, len(names))]].append(place)
        answers = await all_of([self._to_one(name, [requests[at] for at in some]) for name, some in there.items()])
        found: dict[int, Outcome] = {}
        for places, given in zip(there.values(), answers, strict=True):
            found.update(zip(places, given, strict=True))
        return [found[place] for place in range(len(requests))]

    def _target(self, request: DispatchRequest, partitions: int) -> int:
        """Where a request goes: a repetition to the same partition, and one event alone to where its id is at home."""
        if request.request_id:
            return home_of(request.request_id, partitions)
        chosen = next((event.id for event in request.events if not event.id_is_generated), None)
        return next(self._turns) % partitions if chosen is None else home_of(chosen, partitions)

    async def _to_one(self, name: str, requests: Sequence[DispatchRequest]) -> list[Outcome]:
        try:
            return await self._store(name, requests)
        except DueBusError as error:
            return [error] * len(requests)

    async def _store(self, name: str, requests: Sequence[DispatchRequest]) -> list[Outcome]:
        chosen = [event.id for request in requests for event in request.events if not event.id_is_generated]
        known, taken, valid_us = await self._pins.take(name, chosen) if chosen else (set(), set(), ALWAYS_US)
        outcomes: dict[int, Outcome] = {}
        left = []
        for place, request in enumerate(requests):
            if any(event.id in taken for event in request.events):
                outcomes[place] = _contended(name)
            else:
                left.append(place)
        for _ in range(ATTEMPTS):
            left = await self._attempt(name, requests, left, known, valid_us, outcomes)
        outcomes.update((place, _contended(name)) for place in left)
        return [outcomes[place] for place in range(len(requests))]

    async def _attempt(
        self,
        name: str,
        requests: Sequence[DispatchRequest],
        left: list[int],
        known: set[str],
        valid_us: int,
        outcomes: dict[int, Outcome],
    ) -> list[int]:
        """Send what is left of the requests; those that are to be sent again, because more is known now."""
        if not left:
            return left
        sent = [requests[place] for place in left]
        answers = await self._dispatch(name, sent, [dispatching.arguments(one, known) for one in sent], valid_us)
        again = []
        for place, answer in zip(left, answers, strict=True):
            if answer[0] != dispatching.PINNED:
                outcomes[place] = dispatching.outcome(name, requests[place], answer)
            elif await self._pins.settle(Pin(name, *_pinned(requests[place], answer)), known):
                again.append(place)
            else:
                outcomes[place] = _contended(name)
        return again


def _pinned(request: DispatchRequest, answer: Sequence[Any]) -> tuple[str, bytes]:
    """The event that may be elsewhere, and its pin."""
    _, place, score = answer
    return request.events[place].id, score


def _contended(name: str) -> DueBusError:
    return dispatching.busy(topic_of(name), "another request dispatches an event of the same id just now")
