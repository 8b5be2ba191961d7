"""Passes on what Redis answers and other replicas announce, to this replica's sessions and its watcher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from duebus_server.engine.redis.codec.ids import unpack_id
from duebus_server.engine.redis.codec.leases import unpack_fences
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.replicas.sessions import Expiries, LocalSessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import LeaseBatch
    from duebus_server.engine.redis.transport.runner import Runner


RAN_OUT = "-"
"""As in ``leases.lua``: precedes the name of a session whose leases have run out."""


class PartitionWatcher(Protocol):
    """As ``engine.base.Watcher``, for partitions."""

    def due(self, partition: Partition, group: str, at_us: int) -> None:
        """The group has something to lease."""

    def leased(self, partition: Partition, group: str, session_id: str, batch: LeaseBatch) -> None:
        """A dispatch or an ack has used the session's reservation."""

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """The session no longer holds these leases."""

    def leases_ran_out(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """The session has let these leases run out."""

    def leases_extended(self, session_id: str) -> None:
        """Leases of the session were extended."""

    def died(self, partition: Partition, group: str, count: int, first_ids: Sequence[str]) -> None:
        """``count`` events of the group have become dead letters."""

    def suspected(self, partition: Partition, group: str, count: int, first_ids: Sequence[str]) -> None:
        """``count`` events of the group have become suspects."""

    def schedules_due(self, at_us: int) -> None:
        """A schedule may be due at ``at_us``."""

    def deleted(self, partition: Partition, group: str | None) -> None:
        """The group is gone, or with None the whole partition."""

    def limited(self, partition: Partition, group: str) -> None:
        """Every delivery of the group counts for a limit from now on."""


class Notifications:
    """Handles reports of due events, ended leases and deletions.

    Attributes:
        sessions: the sessions of this replica.
        expiries: when the leases that this replica knows run out.
        watcher: receives the reports; None until it is set.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.sessions = LocalSessions(runner.replica)
        self.expiries = Expiries()
        self.watcher: PartitionWatcher | None = None

    def answered(self, now: bytes, ended: Sequence[Any] = ()) -> None:
        """Take note of a script's answer.

        Args:
            now: the time by Redis's clock, in microseconds.
            ended: session, fencing tokens, ... of this replica's leases that the script ended. If the session is b"",
                the events that it made dead letters or suspects follow; see ``leases.lua``.
        """
        self._runner.observe(now)
        for session, tokens in zip(ended[::2], ended[1::2], strict=True):
            if session == b"":
                self._changed(*tokens)
                continue
            self.ended(session.decode(), unpack_fences(tokens))

    def due(self, partition: Partition, group: str, at: bytes | int) -> None:
        """The group has something to lease at ``at``, in microseconds; -1 is never."""
        if self.watcher is not None and int(at) >= 0:
            self.watcher.due(partition, group, int(at))

    def leased(self, partition: Partition, group: str, session_id: str, batch: LeaseBatch) -> None:
        """A dispatch or an ack has used the reservation of a session of this replica."""
        if self.watcher is not None:
            self.watcher.leased(partition, group, session_id, batch)

    def due_now(self, partition: Partition, group: str) -> None:
        """The group may have something to lease."""
        self.due(partition, group, self._runner.now_us())

    def ended(self, session: str, fencing_tokens: Sequence[int]) -> None:
        """Leases of a session have ended. It may belong to another replica.

        Args:
            session: its name, after RAN_OUT if the leases have run out.
            fencing_tokens: the leases' tokens; empty if leases of the session were extended.
        """
        local = self.sessions.ended(session.removeprefix(RAN_OUT), fencing_tokens)
        if local is None or self.watcher is None:
            return
        if session.startswith(RAN_OUT):
            self.watcher.leases_ran_out(local.session_id, fencing_tokens)
        elif fencing_tokens:
            self.watcher.leases_ended(local.session_id, fencing_tokens)
        else:
            self.watcher.leases_extended(local.session_id)

    def _changed(self, what: bytes, name: bytes, group: bytes, count: int, *packed_ids: bytes) -> None:
        """Events have become dead letters or suspects."""
        if self.watcher is not None:
            report = self.watcher.died if what == b"dead" else self.watcher.suspected
            report(Partition.read(name.decode()), group.decode(), count, [unpack_id(packed) for packed in packed_ids])

    def limited(self, partition: Partition, group: str) -> None:
        """Every delivery of a group counts for a limit from now on."""
        if self.watcher is not None:
            self.watcher.limited(partition, group)

    def deleted(self, partition: Partition, group: str | None, at_us: int) -> None:
        """A group, or with None a topic, was deleted at ``at_us``. Sessions that have joined since then stay."""
        sessions = self.sessions.in_group(partition, group)
        over = [session for session in sessions if session.joined_us is not None and session.joined_us <= at_us]
        for session in over:
            self.sessions.forget(session)
            if session.held and self.watcher is not None:
                self.watcher.leases_ended(session.session_id, list(session.held))
        if over or not sessions:
            self.expiries.forget(partition, group)
            if self.watcher is not None:
                self.watcher.deleted(partition, group)
