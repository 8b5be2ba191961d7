"""Explains why an event was delivered again: how its previous lease was lost or released."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

from fault.history import ACK, DONE, EXTEND, NACK, UNKNOWN
from fault.intervals import merged

if TYPE_CHECKING:
    from collections.abc import Iterator

    from fault.history import Delivery, History, Outage, Settle, Stream
    from fault.intervals import Interval

SECOND = 1_000_000

OUT_OF_TOUCH = 2 * SECOND
"""A replica that could send no heartbeat for this long may be taken for dead. (The limit is 3 s, but a heartbeat, sent
every half second, may just have been due.) A shorter outage of a replica or of Redis must not cost a lease."""

GAP = SECOND * 3 // 2
"""Outages this close to each other count as one: there may have been no time for a heartbeat in between."""

AFTERMATH = 5 * SECOND
"""How long after an outage leases may still be lost to what began during it."""

ENDS = ("kill", "drain")
"""After these, a server's sessions are gone, however soon it is back."""

CLOSE = 2 * SECOND
"""How much later than the server a worker may notice the end of its stream."""


GIVEN_BACK = "given back"
"""The cause that leaves nobody with the event."""


class Cause(NamedTuple):
    """Why a lease ended before its event was delivered again, and when the event became free or its holder was gone."""

    name: str
    since: int


class Explanations:
    """Looks for causes in a history."""

    def __init__(self, history: History) -> None:
        self._settles: dict[tuple[str, int], list[Settle]] = defaultdict(list)
        for settle in history.settles:
            self._settles[settle.group, settle.fence].append(settle)
        self._streams: dict[str, list[Stream]] = defaultdict(list)
        for stream in history.streams:
            self._streams[stream.worker].append(stream)
        self._deaths = {
            outage.target.removeprefix("worker:"): outage.began for outage in history.outages if outage.what == "kill"
        }
        servers = {stream.server for stream in history.streams}
        self._out_of_touch = {server: list(_out_of_touch(history.outages, server)) for server in servers}

    def settles(self, delivery: Delivery) -> list[Settle]:
        """The calls that used the lease of a delivery."""
        return self._settles.get((delivery.group, delivery.fence), [])

    def cause(self, before: Delivery, again: Delivery) -> Cause | None:
        """How the lease of `before` ended; None if nothing explains it."""
        for find in (self._given_back, self._expired, self._worker_died, self._stream_ended, self._replica_lost):
            since = find(before, again)
            if since is not None:
                return Cause(find.__name__.strip("_").replace("_", " "), since)
        return None

    def _given_back(self, before: Delivery, again: Delivery) -> int | None:
        nacks = (one for one in self.settles(before) if one.verb == NACK and one.outcome in (DONE, UNKNOWN))
        return min((one.began for one in nacks if one.began <= again.came), default=None)

    def _expired(self, before: Delivery, again: Delivery) -> int | None:
        """The lease was not extended in time, as far as is known."""
        extensions = [one for one in self.settles(before) if one.verb == EXTEND and one.outcome == DONE]
        expires = max([before.expires, *(one.began + one.lease for one in extensions)])
        return expires if again.granted >= expires else None

    def _worker_died(self, before: Delivery, again: Delivery) -> int | None:
        died = self._deaths.get(before.worker)
        return died if died is not None and died <= again.came else None

    def _stream_ended(self, before: Delivery, again: Delivery) -> int | None:
        ends = [stream.ended for stream in self._streams[before.worker] if stream.ended is not None]
        return max((end for end in ends if before.came <= end <= again.came + CLOSE), default=None)

    def _replica_lost(self, before: Delivery, again: Delivery) -> int | None:
        """A server of the worker could send no heartbeats."""
        servers = {
            stream.server
            for stream in self._streams[before.worker]
            if stream.began <= again.came and (stream.ended is None or stream.ended >= before.came)
        }
        outages = [outage for server in servers for outage in self._out_of_touch[server]]
        lost = [began for began, ended in outages if began <= again.came and ended + AFTERMATH >= before.came]
        return max(lost, default=None)


def is_final(settle: Settle) -> bool:
    """Whether this ends the event: nobody may get it afterwards."""
    return settle.outcome == DONE and (settle.verb == ACK or settle.final)


def _out_of_touch(outages: list[Outage], server: str) -> Iterator[Interval]:
    """When a server was killed, or could not reach Redis for long although Redis was up.

    While Redis is unreachable, all replicas are silent, and none may be taken for dead for that.
    """
    own = {f"server:{server}", f"link:{server}", "host"}
    silent = [one for one in outages if (one.target in own or one.target == "redis") and one.what != "delay"]
    for began, ended in merged(((one.began, one.ended) for one in silent), GAP):
        alone = any(one.target in own and began <= one.began <= ended for one in silent)
        if alone and ended - began >= OUT_OF_TOUCH:
            yield began, ended
    yield from ((one.began, one.ended) for one in outages if one.target == f"server:{server}" and one.what in ENDS)
