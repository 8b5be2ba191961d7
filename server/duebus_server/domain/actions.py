"""What operators did, and how it ended."""

from __future__ import annotations

from dataclasses import dataclass

KEPT_ACTIONS = 1_000
"""How many actions an engine keeps: the latest ones."""


@dataclass(frozen=True, slots=True)
class Action:
    """One call that changed something, or tried to. Fields have defaults because other builds may not have stored them.

    Attributes:
        at_us: when it ended, in microseconds since the Unix epoch, by the engine's wall clock.
        identity: who called; as in the log.
        peer: the caller's address.
        verb: the RPC, such as ``PauseGroup``.
        topic: the topic it was about; empty for none.
        group: the group it was about; empty for none.
        subject: what else it was about: a schedule, a key, how many events; empty for nothing else.
        outcome: OK, or why it failed.
    """

    at_us: int
    identity: str = ""
    peer: str = ""
    verb: str = ""
    topic: str = ""
    group: str = ""
    subject: str = ""
    outcome: str = ""
