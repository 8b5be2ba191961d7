"""Passes on what Redis's answers and the other replicas tell: to the sessions of this replica and to its watcher."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from duebus_server.engine.redis.codec.ids import unpack_id
from duebus_server.engine.redis.codec.leases import unpack_fences
from duebus_server.engine.redis.partition import Partition
from duebus_server.engine.redis.replicas.sessions import Expiries, LocalSessions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.engine.redis.transport.runner import Runner


RAN_OUT = "-"
"""As in ``leases.lua``: in front of the name of a session whose leases have run out."""


class PartitionWatcher(Protocol):
    """As ``engine.base.Watcher``, of partitions."""

    def due(self, partition: Partition, group: str, at_us: int) -> None:
        """The group has something to lease."""

    def leases_ended(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """The session no longer holds these leases."""

    def leases_ran_out(self, session_id: str, fencing_tokens: Sequence[int]) -> None:
        """Nor these, which it has let run out."""

    def leases_extended(self, session_id: str) -> None:
        """Leases of the session were extended."""

    def died(self, partition: Partition, group: str, count: int, first_ids: Sequence[str]) -> None:
        """So many events of the group have become dead letters."""

    def suspected(self, partition: Partition, group: str, count: int, first_ids: Sequence[str]) -> None:
        """So many events of the group have become suspects."""

    def deleted(self, partition: Partition, group: str | None) -> None:
        """The group, or with None the whole partition, is gone."""


class Notifications:
    """What this replica is told of due events, of leases that have ended, and of deletions.

    Attributes:
        sessions: those of this replica.
        expiries: when the leases that this replica knows of run out.
        watcher: the bus, which is told; None until there is one.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self.sessions = LocalSessions(runner.replica)
        self.expiries = Expiries()
        self.watcher: PartitionWatcher | None = None

    def answered(self, now: bytes, ended: Sequence[Any] = ()) -> None:
        """A script has answered.

        Args:
            now: the time by Redis's clock, in microseconds.
            ended: session, fencing tokens, ... of leases of this replica's sessions that have ended by it; in place of
                a session b"", and then the events that it made dead letters or suspects, see ``leases.lua``.
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

    def due_now(self, partition: Partition, group: str) -> None:
        """The group may have something to lease."""
        self.due(partition, group, self._runner.now_us())

    def ended(self, session: str, fencing_tokens: Sequence[int]) -> None:
        """Leases of a session have ended, which may be one of this replica.

        Args:
            session: its name; with RAN_OUT in front if the leases have run out.
            fencing_tokens: of the leases; none if leases of the session were extended.
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
        """Events have become dead letters, or suspects."""
        if self.watcher is not None:
            tell = self.watcher.died if what == b"dead" else self.watcher.suspected
            tell(Partition.read(name.decode()), group.decode(), count, [unpack_id(packed) for packed in packed_ids])

    def deleted(self, partition: Partition, group: str | None, at_us: int) -> None:
        """A group, or with None a topic, was deleted at that time. Sessions that have joined it since then stay."""
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
