"""What topics and groups report their steps to, so that a restart can bring back what they hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Sequence

    from duebus_server.domain.model import DispatchRequest
    from duebus_server.engine.local.records import Entry, Lease, StoredEvent

G_contra = TypeVar("G_contra", contravariant=True)
"""The groups of the engine."""


class Recorder(Protocol[G_contra]):
    """Records what happens to events. ``journal.recording`` implements it."""

    def dispatched(
        self,
        topic: str,
        groups: Sequence[G_contra],
        stored: Sequence[StoredEvent],
        request: DispatchRequest,
        duplicates: Sequence[str],
        until_us: int,
    ) -> None:
        """A request has stored events, or is only remembered. Called before the events are put into the groups.

        Args:
            topic: the name of their topic.
            groups: the groups that get the events.
            stored: the events, in order of ``seq``.
            request: the request that they arrived in.
            duplicates: the ids of events in the request that added nothing.
            until_us: until when the request is remembered, if it has an id.
        """

    def leased(self, group: G_contra, entries: Sequence[Entry], lease: Lease, expires_us: int) -> None:
        """Events are leased; ``lease`` is that of the first. Called before the entries are changed."""

    def changed(self, group: G_contra, entry: Entry) -> None:
        """An event of a group has changed. Its state is recorded once the step has finished with the group."""

    def paused(self, group: G_contra, key: str | None) -> None:
        """A nack has paused this key of a group, or with None the group."""

    def removed(self, group: G_contra, entries: Sequence[Entry], until_us: int) -> None:
        """A group is done with these events. Ids that no other group holds are remembered until ``until_us``.

        Those with a key may make others leasable.
        """
