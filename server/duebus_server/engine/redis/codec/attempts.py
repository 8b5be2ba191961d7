"""Attempts as scripts keep them in a record's history."""

from __future__ import annotations

from duebus_server.domain.views import AttemptOutcome

OUTCOMES = (
    AttemptOutcome.UNDER_WAY,
    AttemptOutcome.NACKED,
    AttemptOutcome.DEAD,
    AttemptOutcome.RELEASED,
    AttemptOutcome.EXPIRED,
)
"""How an attempt ended, each at its number in ``common.lua``."""
