"""Reads a history and reports what must not have happened.

- lost: an accepted event was neither acked nor is it still there;
- early: an event was leased, or came, before it was due;
- two holders: a lease was used after the event had been given to another, a fencing token was given twice, or an event
  was given to another although its handler, which gave it back, had not ended;
- undead: an event was delivered after it was acked, or made a dead letter;
- unexplained: an event was delivered again though nothing had happened to the lease before;
- stored twice: one event of a producer under two ids;
- unknown: an event was delivered that nobody dispatched;
- late: an event waited for long, though all worked. One that was lost twice may be a suspect, which waits for its turn.

Two handlers may have the same event of a group at the same time when the earlier one has lost its lease, and then what
it does with that lease must be refused. A lease is lost only when

- it ran out: the later lease was granted, by Redis's clock, after the expiry that the worker was told and after every
  extension that was answered;
- the worker was killed before the later delivery came;
- the worker's stream ended after the earlier delivery came, and at most 2 s (``CLOSE``) after the later one did, since
  a worker may learn of it later than the server;
- a server that the worker's stream was on was killed or drained, or could not reach Redis for 2 s (``OUT_OF_TOUCH``)
  while Redis was there, and that ended at most 5 s (``AFTERMATH``) before the earlier delivery came.

Anything else that has an event delivered again is "unexplained". So a paused worker, and Redis being away, cost no
lease that has not run out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from fault.explanations import GIVEN_BACK, SECOND, Explanations, is_final
from fault.history import ACK, DONE, UNKNOWN
from fault.intervals import merged, overlap

if TYPE_CHECKING:
    from fault.explanations import Cause
    from fault.history import Delivery, Dispatched, History, Settle

LATE = 15 * SECOND
"""Half a lease of 30 s: to wait for a lease to run out is late, for a grace or a dead replica's lapse it is not."""

LOST_BY_SUSPECTS = 2
"""Deliveries that an event lost when it is a suspect, of which a stream holds one at a time."""

CALM = SECOND
"""How long after an outage everything works again."""


class Violation(NamedTuple):
    """A violation, and the history of the event."""

    kind: str
    story: str


@dataclass
class Report:
    """The checker's findings.

    Attributes:
        duplicates: how often an event was delivered again, by cause.
        two_at_once: how often two handlers had the same event at the same time, by the cause that allowed it.
        slowest: the longest time from the end of a lease or its holder to the next delivery, by cause; microseconds.
        slowest_calm: the longest time from due to first delivered while there was no outage; microseconds.
    """

    violations: list[Violation] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    two_at_once: Counter[str] = field(default_factory=Counter)
    slowest: Counter[str] = field(default_factory=Counter)
    slowest_calm: int = 0

    def kinds(self) -> set[str]:
        """The kinds of violations there are."""
        return {violation.kind for violation in self.violations}


def check(history: History) -> Report:
    """Checks all of it."""
    return _Checker(history).run()


class _Checker:
    def __init__(self, history: History) -> None:
        self._history = history
        self._explanations = Explanations(history)
        self._report = Report()
        self._chains: dict[tuple[str, str], list[Delivery]] = defaultdict(list)
        for delivery in sorted(history.deliveries, key=lambda one: one.fence):
            self._chains[delivery.group, delivery.event_id].append(delivery)
        # Producers may die or wait without an event being late by that.
        disturbing = [one for one in history.outages if not one.target.startswith("producer:")]
        self._outages = merged((one.began, one.ended) for one in disturbing)

    def run(self) -> Report:
        dispatched = {event.key: event for event in self._history.dispatched}
        self._check_fences()
        self._check_ids()
        for chain in self._chains.values():
            event = dispatched.get(chain[0].key)
            if event is None:
                self._violation("unknown", chain)
            else:
                self._check_chain(event, chain)
        for event in self._history.dispatched:
            if event.event_id is not None:
                self._check_kept(event, event.event_id)
        return self._report

    # --- of all -----------------------------------------------------------------------------------------------------

    def _check_fences(self) -> None:
        """A fencing token is given once."""
        given: dict[tuple[str, int], Delivery] = {}
        for delivery in self._history.deliveries:
            other = given.setdefault((delivery.group, delivery.fence), delivery)
            if other is not delivery:
                self._violation("two holders", [other, delivery])

    def _check_ids(self) -> None:
        """Repeated requests add nothing."""
        ids: dict[str, Delivery] = {}
        for delivery in self._history.deliveries:
            other = ids.setdefault(delivery.key, delivery)
            if other.event_id != delivery.event_id:
                self._violation("stored twice", [other, delivery])

    def _check_kept(self, event: Dispatched, event_id: str) -> None:
        """An accepted event is acked or still there, in every group."""
        left = {one.group for one in self._history.left if one.event_id == event_id}
        for group in self._history.groups:
            chain = self._chains.get((group, event_id), [])
            if group not in left and not any(map(self._may_be_acked, chain)):
                self._violation("lost", chain, f"{event} in {group}")

    def _may_be_acked(self, delivery: Delivery) -> bool:
        acks = (one for one in self._explanations.settles(delivery) if one.verb == ACK)
        return any(one.outcome in (DONE, UNKNOWN) for one in acks)

    # --- of one event in one group ----------------------------------------------------------------------------------

    def _check_chain(self, event: Dispatched, chain: list[Delivery]) -> None:
        for delivery in chain:
            if delivery.granted < delivery.due or min(delivery.granted, delivery.came) < event.began + event.delay:
                self._violation("early", chain, f"{event}")
        self._check_wait(chain, chain[0], None)
        lost = 0
        for before, again in pairwise(chain):
            cause = self._check_redelivery(before, again, chain)
            lost += cause is not None and cause.name != GIVEN_BACK
            if cause is not None:
                self._check_wait(chain, again, cause, may_wait=lost >= LOST_BY_SUSPECTS)

    def _check_redelivery(self, before: Delivery, again: Delivery, chain: list[Delivery]) -> Cause | None:
        settles = self._explanations.settles(before)
        if any(map(is_final, settles)):
            self._violation("undead", chain)
        if any(one.outcome == DONE and one.began > again.came for one in settles):
            self._violation("two holders", chain)
        if again.granted < _asked_for(settles, again):
            self._violation("early", chain)
        cause = self._explanations.cause(before, again)
        if cause is None:
            self._violation("unexplained", chain)
        else:
            self._report.duplicates[cause.name] += 1
            self._check_handlers(before, again, chain, cause)
        return cause

    def _check_handlers(self, before: Delivery, again: Delivery, chain: list[Delivery], cause: Cause) -> None:
        """Whether the earlier handler had ended, and if not, whether it may go on."""
        ended = self._history.handlers_ended.get((before.group, before.fence))
        if ended is None or ended <= again.came:
            return
        self._report.two_at_once[cause.name] += 1
        if cause.name == GIVEN_BACK:
            self._violation("two holders", chain)

    def _check_wait(
        self, chain: list[Delivery], delivery: Delivery, cause: Cause | None, *, may_wait: bool = False
    ) -> None:
        """From when it could have been delivered, outages left out."""
        since = delivery.due if cause is None else max(delivery.due, cause.since)
        waited, report = delivery.came - since, self._report
        disturbed = overlap(self._outages, since, delivery.came)
        if cause is not None:
            report.slowest[cause.name] = max(report.slowest[cause.name], waited)
        elif not disturbed and not overlap(self._outages, since - CALM, since):
            report.slowest_calm = max(report.slowest_calm, waited)
        if waited - disturbed > LATE and not may_wait:
            self._violation("late", chain, f"waited {waited / SECOND:.1f} s")

    def _violation(self, kind: str, chain: list[Delivery], note: str = "") -> None:
        story = [note, *(f"{one}: {self._explanations.settles(one)}" for one in chain)]
        self._report.violations.append(Violation(kind, "\n  ".join(story)))


def _asked_for(settles: list[Settle], again: Delivery) -> int:
    """When the nack that went through, as its error tells, wants it at the earliest; it may have had several tries."""
    through = [one for one in settles if one.delay is not None and one.error and one.error == again.last_error]
    return min((one.began + (one.delay or 0) for one in through), default=0)
