"""The scenarios of ``bench.scenarios`` that a peer has, measured in the same way and with the same figures.

For a peer, the clock stops when the last handler starts; for DueBus, when the last ack is confirmed.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from bench import scenarios
from bench.peers.places import BUILD
from bench.peers.services import BROKERS
from bench.scenarios import PAYLOAD_BYTES, Figures, Size, check_complete, percentiles
from bench.system import Role, role_env

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.peers.registry import Peer

LOGS = BUILD / "logs"


class PeerStage:
    """The peer's broker, and the roles of its program."""

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self._stack = ExitStack()
        self._address = self._stack.enter_context(BROKERS[peer.broker]())

    def __enter__(self) -> PeerStage:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def role(self, side: str, **arguments: Any) -> Role:
        """A side of the program, ready to begin; it logs to the peer's file."""
        LOGS.mkdir(parents=True, exist_ok=True)
        given = {"side": side, "address": self._address, "payload": PAYLOAD_BYTES, **arguments}
        env = {**role_env(), "PEER_MODULES": str(BUILD / self.peer.name)}
        role = Role(self.peer.program(), given, env, LOGS / f"{self.peer.name}.log")
        self._stack.callback(role.close)
        role.wait_ready()
        return role

    def produce(self, events: int, **arguments: Any) -> dict[str, Any]:
        """Send events. Returns the role's result."""
        producer = self.role("producer", events=events, **arguments)
        producer.begin()
        return producer.result()

    def handle(self, events: int, concurrency: int, measure: str = "", **produced: Any) -> tuple[dict[str, Any], ...]:
        """A producer and a worker that begin together. Returns both results."""
        worker = self.role("worker", events=events, concurrency=concurrency, measure=measure)
        producer = self.role("producer", events=events, **produced)
        worker.begin()
        producer.begin()
        sent, worked = producer.result(), worker.result()
        check_complete(worked, events)
        return sent, worked


def end_to_end(peer: Peer, size: Size) -> Figures:
    """One producer in batches of 500, one worker with a handler that does nothing, acks; both begin together."""
    events = share_of(size.events, peer)
    with PeerStage(peer) as system:
        sent, worked = system.handle(events, concurrency=1_000, batch=500)
        return {"events_per_s": events / (worked["ended_s"] - sent["began_s"])}


def drain(peer: Peer, size: Size) -> Figures:
    """A full backlog, then one worker."""
    events = share_of(size.backlog, peer)
    with PeerStage(peer) as system:
        system.produce(events, batch=500)
        worker = system.role("worker", events=events, concurrency=1_000)
        began_s = time.monotonic()
        worker.begin()
        worked = worker.result()
        check_complete(worked, events)
        # A worker that subscribes before the signal to begin may already have begun.
        return {"events_per_s": events / (worked["ended_s"] - min(began_s, worked["began_s"]))}


def single_dispatch(peer: Peer, size: Size) -> Figures:
    """64 callers, each waiting for the acknowledgement of one event after the other."""
    events = share_of(size.single, peer)
    with PeerStage(peer) as system:
        sent = system.produce(events, batch=1, coroutines=64)
        return {"events_per_s": events / (sent["ended_s"] - sent["began_s"])}


def latency(peer: Peer, size: Size) -> Figures:
    """Single events at 50 a second: from the call of the client to the handler."""
    with PeerStage(peer) as system:
        _, worked = system.handle(size.paced, concurrency=64, measure="latency", per_second=50)
        return percentiles(worked["measured"])


def lateness(peer: Peer, size: Size) -> Figures:
    """Events due one after the other: how late the handler is entered after the due time."""
    if not peer.delays:
        return {}
    with PeerStage(peer) as system:
        _, worked = system.handle(size.delayed, concurrency=64, measure="lateness", delay_s=1.0, spread_s=size.spread_s)
        return {**percentiles(worked["measured"]), "earliest_ms": min(worked["measured"])}


SCENARIOS: dict[str, tuple[Callable[[str, Size], Figures], Callable[[Peer, Size], Figures]]] = {
    "end-to-end": (scenarios.end_to_end, end_to_end),
    "drain": (scenarios.drain, drain),
    "single dispatch": (scenarios.single_dispatch, single_dispatch),
    "latency": (scenarios.latency, latency),
    "lateness": (scenarios.lateness, lateness),
}
"""Each scenario for an engine of DueBus, and for a peer."""


def share_of(events: int, peer: Peer) -> int:
    """The peer's share of these."""
    return max(1, round(events * peer.share))
