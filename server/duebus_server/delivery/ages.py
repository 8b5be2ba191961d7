"""Ends streams that have lasted long enough, so that replicas which were added get streams too."""

from __future__ import annotations

import random as random_numbers
from functools import partial
from typing import TYPE_CHECKING

from duebus_server.delivery.frames import REBALANCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from duebus_server.delivery.session import Session
    from duebus_server.domain.clock import Clock, Timer
    from duebus_server.engine.base import Engine

JITTER = 0.1
"""The part of its greatest age by which a stream ends earlier or later, at random."""

CHECKS = 20
"""How often, until it has reached its age, a stream is checked: it ends if its replica has more than its share."""


class StreamAges:
    """Counts the open streams, and asks subscribers to subscribe again when a stream has reached the greatest age.

    Subscribers choose a server without knowing how many streams it has. So a replica with more than its share ends as
    many as it has too many, and their subscribers try the next server. If that does not help, because they come back to
    this one, as through a balancer of connections, it waits longer each time before it ends as many again.

    Args:
        engine: knows the share of each replica.
        clock: for timers.
        max_age_us: the greatest age; 0: streams last until something else ends them.
        random: a number from 0 up to, not including, 1.
    """

    def __init__(
        self, engine: Engine, clock: Clock, max_age_us: int, random: Callable[[], float] = random_numbers.random
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._max_age_us = max_age_us
        self._random = random
        self._draining = False
        # Streams are ended early in rounds: how many there were too many when this round began, and how many of these
        # are not ended yet.
        self._excess = 0
        self._left_to_end = 0
        # When the next round may begin, and how long this one lasts.
        self._again_at_us = 0
        self._wait_us = 0
        # The streams whose subscribers were not asked to subscribe again.
        self._staying: set[str] = set()
        self._timers: dict[str, Timer] = {}

    def opened(self, session: Session) -> None:
        """A stream has opened. ``closed`` must follow."""
        self._staying.add(session.options.session_id)
        self._fair_share()
        if self._max_age_us:
            self._check_later(session, round(self._max_age_us * (1 - JITTER + 2 * JITTER * self._random())), CHECKS)

    def closed(self, session: Session) -> None:
        """It has ended."""
        self._staying.discard(session.options.session_id)
        timer = self._timers.pop(session.options.session_id, None)
        if timer is not None:
            timer.cancel()
        self._fair_share()

    def drain(self) -> None:
        """This replica takes no streams any more, so the others have the share of one replica less."""
        self._draining = True
        self._fair_share()

    def _fair_share(self) -> int:
        return self._engine.fair_share(None if self._draining else len(self._staying))

    def _check_later(self, session: Session, left_us: int, checks: int) -> None:
        """Check a stream after part of the time that it has left.

        Args:
            session: the stream.
            left_us: how long it lasts at most.
            checks: how many checks are left. With the last one it ends.
        """
        wait_us = left_us // checks
        check = partial(self._check, session, left_us - wait_us, checks - 1)
        self._timers[session.options.session_id] = self._clock.call_at(self._clock.now_us() + wait_us, check)

    def _check(self, session: Session, left_us: int, checks: int) -> None:
        """End a stream if it has lasted long enough, or if there are too many."""
        if checks and not self._ends_early():
            self._check_later(session, left_us, checks)
        else:
            self._staying.discard(session.options.session_id)
            session.close_soon(REBALANCE)

    def _ends_early(self) -> bool:
        """Whether to end a stream because there are too many. It counts for this round."""
        now_us = self._clock.now_us()
        if now_us >= self._again_at_us:
            excess = max(0, len(self._staying) - self._fair_share())
            if excess:
                was_in_vain = 0 < self._excess <= excess
                self._wait_us = min(2 * self._wait_us, self._max_age_us) if was_in_vain else self._max_age_us // CHECKS
                self._again_at_us = now_us + self._wait_us
            self._excess = self._left_to_end = excess
        self._left_to_end -= 1
        return self._left_to_end >= 0
