"""Reads a history and reports what must not have happened.

- lost: an accepted event was not acked, and is no longer there;
- early: an event was leased or delivered before it was due;
- two holders: a lease was used after the event had been given to another worker, a fencing token was given twice, or an
  event was given to another worker although its handler, which gave it back, had not ended;
- undead: an event was delivered after it was acked, or made a dead letter;
- unexplained: an event was delivered again although nothing had happened to its previous lease;
- not over: an event was delivered although the one before it with the same key was neither acked nor dead;
- out of order: of the events with a key, one that was due later was delivered first, or a lease that was granted later
  has a smaller fencing token;
- stored twice: one event of a producer under two ids;
- unknown: an event was delivered that nobody dispatched;
- late: an event waited for long although everything worked. Only a suspect may, because a stream holds one suspect at
  a time. An event is a suspect once two of its leases have run out; its attempts tell how many have, because a release
  is not counted and a nack is known.

Two handlers may have the same event of a group at the same time if the earlier one has lost its lease. Whatever it then
does with that lease must be refused. A lease is lost only if

- it ran out: the later lease was granted, by Redis's clock, after the expiry that the worker got and after every
  extension that was answered;
- the worker was killed before the later delivery arrived;
- the worker's stream ended after the earlier delivery arrived, and at most 2 s (``CLOSE``) after the later one, because
  a worker may notice the end later than the server;
- a server that the worker's stream was on was killed or drained, or could not reach Redis for 2 s (``OUT_OF_TOUCH``)
  while Redis was up, and this ended at most 5 s (``AFTERMATH``) before the earlier delivery arrived.

Any other repeated delivery is "unexplained". So a paused worker or an outage of Redis costs only leases that have run
out.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from fault.explanations import GIVEN_BACK, SECOND, Explanations, is_final
from fault.history import ACK, DONE, NACK, UNKNOWN
from fault.intervals import merged, overlap

if TYPE_CHECKING:
    from fault.explanations import Cause
    from fault.history import Delivery, Dispatched, History, Settle

LATE = 15 * SECOND
"""Half a lease of 30 s: waiting for a lease to run out is late, for a grace or a dead replica's lapse it is not."""

RAN_OUT_BY_SUSPECTS = 2
"""How many leases that ran out make an event a suspect."""

CALM = SECOND
"""How long after an outage everything works again."""


class Violation(NamedTuple):
    """A violation, and the history of the event."""

    kind: str
    details: str


@dataclass
class Report:
    """The checker's findings.

    Attributes:
        duplicates: how often an event was delivered again, by cause.
        two_at_once: how often two handlers had the same event at the same time, by the cause that allowed it.
        slowest: the longest time from the end of a lease or its holder to the next delivery, by cause; microseconds.
        slowest_calm: the longest time from due to first delivered while there was no outage; microseconds.
        ordered: how many events of each key and group were delivered.
    """

    violations: list[Violation] = field(default_factory=list)
    duplicates: Counter[str] = field(default_factory=Counter)
    two_at_once: Counter[str] = field(default_factory=Counter)
    slowest: Counter[str] = field(default_factory=Counter)
    slowest_calm: int = 0
    ordered: Counter[tuple[str, str]] = field(default_factory=Counter)

    def kinds(self) -> set[str]:
        """The kinds of violations found."""
        return {violation.kind for violation in self.violations}


def check(history: History) -> Report:
    """Checks a whole history."""
    return _Checker(history).run()


class _Checker:
    def __init__(self, history: History) -> None:
        self._history = history
        self._explanations = Explanations(history)
        self._report = Report()
        self._chains: dict[tuple[str, str], list[Delivery]] = defaultdict(list)
        for delivery in sorted(history.deliveries, key=lambda one: one.fence):
            self._chains[delivery.group, delivery.event_id].append(delivery)
        self._dispatched = {event.name: event for event in history.dispatched}
        self._numbers = {event.name: number for number, event in enumerate(history.dispatched)}
        # When the event before it with the same key was over, by the group and the event's first fencing token.
        self._let_in: dict[tuple[str, int], int] = {}
        # A producer that dies or waits makes no event late.
        disturbing = [one for one in history.outages if not one.target.startswith("producer:")]
        self._outages = merged((one.began, one.ended) for one in disturbing)

    def run(self) -> Report:
        self._check_fences()
        self._check_ids()
        self._check_keys()
        for chain in self._chains.values():
            event = self._dispatched.get(chain[0].name)
            if event is None:
                self._violation("unknown", chain)
            else:
                self._check_chain(event, chain)
        for event in self._history.dispatched:
            if event.event_id is not None:
                self._check_kept(event, event.event_id)
        return self._report

    # --- all events ---------------------------------------------------------------------------------------------------

    def _check_fences(self) -> None:
        """A fencing token is given once."""
        given: dict[tuple[str, int], Delivery] = {}
        for delivery in self._history.deliveries:
            other = given.setdefault((delivery.group, delivery.fence), delivery)
            if other is not delivery:
                self._violation("two holders", [other, delivery])

    def _check_ids(self) -> None:
        """A repeated request adds nothing."""
        ids: dict[str, Delivery] = {}
        for delivery in self._history.deliveries:
            other = ids.setdefault(delivery.name, delivery)
            if other.event_id != delivery.event_id:
                self._violation("stored twice", [other, delivery])

    def _check_keys(self) -> None:
        """The events with a key are delivered one after the other, in the order in which they are due."""
        of_key: dict[tuple[str, str], list[Delivery]] = defaultdict(list)
        for delivery in sorted(self._history.deliveries, key=lambda one: one.fence):
            event = self._dispatched.get(delivery.name)
            if event is not None and event.key:
                of_key[delivery.group, event.key].append(delivery)
        for group_and_key, deliveries in of_key.items():
            firsts: dict[str, Delivery] = {}
            for delivery in deliveries:
                firsts.setdefault(delivery.event_id, delivery)
            self._report.ordered[group_and_key] = len(firsts)
            for before, after in pairwise(deliveries):
                self._check_succession(before, after, came_before=firsts[after.event_id] is not after)
            for before, after in pairwise(firsts.values()):
                if self._place(after) < self._place(before):
                    self._violation("out of order", [before, after])

    def _place(self, first: Delivery) -> tuple[int, int]:
        """Of an event's first delivery: where the event is in the order of its key."""
        return first.due, self._numbers[first.name]

    def _check_succession(self, before: Delivery, after: Delivery, *, came_before: bool) -> None:
        if after.granted < before.granted:
            self._violation("out of order", [before, after])
        if before.event_id == after.event_id:
            return
        ends = [one for one in self._explanations.settles(before) if one.verb == ACK or one.final]
        over = [one.began for one in ends if one.outcome in (DONE, UNKNOWN) and one.began <= after.came]
        if not over or came_before:
            self._violation("not over", [before, after])
        self._let_in[after.group, after.fence] = max(over, default=before.came)

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

    # --- one event in one group ----------------------------------------------------------------------------------

    def _check_chain(self, event: Dispatched, chain: list[Delivery]) -> None:
        for delivery in chain:
            if delivery.granted < delivery.due or min(delivery.granted, delivery.came) < event.began + event.delay:
                self._violation("early", chain, f"{event}")
        ran_out = chain[0].attempt - 1
        self._check_wait(chain, chain[0], None, is_suspect=ran_out >= RAN_OUT_BY_SUSPECTS)
        for before, again in pairwise(chain):
            cause = self._check_redelivery(before, again, chain)
            ran_out += self._ran_out(before, again)
            if cause is not None:
                self._check_wait(chain, again, cause, is_suspect=ran_out >= RAN_OUT_BY_SUSPECTS)

    def _ran_out(self, before: Delivery, again: Delivery) -> int:
        """How many leases ran out in between, with those of deliveries that reached no worker."""
        nacks = [one for one in self._explanations.settles(before) if one.verb == NACK and not one.release]
        was_nacked = any(
            one.outcome == DONE or (one.outcome == UNKNOWN and one.error == again.last_error) for one in nacks
        )
        return max(0, again.attempt - before.attempt - was_nacked)

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
        """Whether the earlier handler had ended, or may go on."""
        ended = self._history.handlers_ended.get((before.group, before.fence))
        if ended is None or ended <= again.came:
            return
        self._report.two_at_once[cause.name] += 1
        if cause.name == GIVEN_BACK:
            self._violation("two holders", chain)

    def _check_wait(self, chain: list[Delivery], delivery: Delivery, cause: Cause | None, *, is_suspect: bool) -> None:
        """When it could have been delivered, ignoring outages."""
        let_in = self._let_in.get((delivery.group, delivery.fence), 0)
        since = max(delivery.due, let_in if cause is None else cause.since)
        waited, report = delivery.came - since, self._report
        disturbed = overlap(self._outages, since, delivery.came)
        if cause is not None:
            report.slowest[cause.name] = max(report.slowest[cause.name], waited)
        elif not disturbed and not overlap(self._outages, since - CALM, since):
            report.slowest_calm = max(report.slowest_calm, waited)
        if waited - disturbed > LATE and not is_suspect:
            self._violation("late", chain, f"waited {waited / SECOND:.1f} s")

    def _violation(self, kind: str, chain: list[Delivery], note: str = "") -> None:
        details = [note, *(f"{one}: {self._explanations.settles(one)}" for one in chain)]
        self._report.violations.append(Violation(kind, "\n  ".join(details)))


def _asked_for(settles: list[Settle], again: Delivery) -> int:
    """The earliest time that the successful nack asked for, found by its error: a nack may have had several tries."""
    through = [one for one in settles if one.delay is not None and one.error and one.error == again.last_error]
    return min((one.began + (one.delay or 0) for one in through), default=0)
