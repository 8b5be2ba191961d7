r"""The life of an event in one group, as data.

::

                   dispatch(delay)                 dispatch
                         |                            |
                         v            due             v
       +----------> SCHEDULED --------------------> READY <-----------------------+
       |                 |                            |                           |
       |                 | cancel                     | lease                     | release
       |                 v                            v                           | expire
       |             (removed) <------ ack ------- LEASED ------------------------+
       |                                              |
       +----- retry ----------------------------------+---- die ----> DEAD -- redrive --> READY
                                                                         \--- purge --> (removed)

Of the events with one key, one at a time is READY, LEASED, or waits for its retry. While there is one, an event of the
key that becomes due is BLOCKED instead of READY; or, if it was due first and the other one is READY and was never
leased, they change places::

        READY --- block: an earlier event of the key becomes due ---> BLOCKED --- cancel ---> (removed)
          ^                                                            |   |
          +--------- open: the event before it is acked, dead, --------+   +--- reschedule ---> SCHEDULED
                     cancelled or rescheduled

Engines move events along these arrows only, each as one atomic step; the property suite drives every engine
against this table.
"""

from __future__ import annotations

from enum import StrEnum


class EventState(StrEnum):
    """The state of an event in one group."""

    SCHEDULED = "scheduled"
    READY = "ready"
    BLOCKED = "blocked"
    LEASED = "leased"
    DEAD = "dead"


class Transition(StrEnum):
    """An arrow of the drawing: what moves an event out of a state."""

    DUE = "due"
    LEASE = "lease"
    ACK = "ack"
    RETRY = "retry"
    RELEASE = "release"
    EXPIRE = "expire"
    DIE = "die"
    REDRIVE = "redrive"
    PURGE = "purge"
    CANCEL = "cancel"
    RESCHEDULE = "reschedule"
    BLOCK = "block"
    OPEN = "open"


# `None` is an event that the group no longer holds.
TRANSITIONS: dict[tuple[EventState, Transition], EventState | None] = {
    (EventState.SCHEDULED, Transition.DUE): EventState.READY,
    (EventState.SCHEDULED, Transition.CANCEL): None,
    (EventState.SCHEDULED, Transition.RESCHEDULE): EventState.SCHEDULED,
    (EventState.READY, Transition.LEASE): EventState.LEASED,
    (EventState.READY, Transition.CANCEL): None,
    (EventState.READY, Transition.RESCHEDULE): EventState.SCHEDULED,
    (EventState.READY, Transition.BLOCK): EventState.BLOCKED,
    (EventState.BLOCKED, Transition.OPEN): EventState.READY,
    (EventState.BLOCKED, Transition.CANCEL): None,
    (EventState.BLOCKED, Transition.RESCHEDULE): EventState.SCHEDULED,
    (EventState.LEASED, Transition.ACK): None,
    (EventState.LEASED, Transition.RETRY): EventState.SCHEDULED,
    (EventState.LEASED, Transition.RELEASE): EventState.READY,
    (EventState.LEASED, Transition.EXPIRE): EventState.READY,
    (EventState.LEASED, Transition.DIE): EventState.DEAD,
    (EventState.DEAD, Transition.REDRIVE): EventState.READY,
    (EventState.DEAD, Transition.PURGE): None,
}
