"""What has happened in a group, until it is reported to the watcher."""

from __future__ import annotations


class Unannounced:
    """The changes of one group.

    Attributes:
        ended: leases that were settled, deleted or moved: session id -> fencing tokens.
        ran_out: leases that ran out: session id -> fencing tokens.
        extended: ids of sessions whose leases were extended.
        died: ids of events that became dead letters.
        suspected: ids of events that became suspects.
    """

    def __init__(self) -> None:
        self.ended: dict[str, list[int]] = {}
        self.ran_out: dict[str, list[int]] = {}
        self.extended: set[str] = set()
        self.died: list[str] = []
        self.suspected: list[str] = []

    def is_empty(self) -> bool:
        """Whether there is nothing to report."""
        return not (self.ended or self.ran_out or self.extended or self.died or self.suspected)
