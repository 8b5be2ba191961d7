"""The faults, and their sequence from a seed: the same seed gives the same sequence."""

from __future__ import annotations

import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from duebus_server.engine.redis.partition import partitions_of
from fault.journal import now_us
from fault.storage import Cluster, OneRedis
from fault.worker import TOPIC

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from random import Random

    from fault.bus import Bus
    from fault.links import Links

    Fault = Callable[[Bus, Random], None]

STALL_S = 0.7
"""The host took the processors away from every process for this long."""


def kill_server(bus: Bus, random: Random) -> None:
    """SIGKILL; it restarts on its address."""
    number = random.randrange(len(bus.servers))
    with bus.outage("kill", f"server:{number}"):
        bus.servers[number].kill()
        time.sleep(random.uniform(0.0, 4.0))
        bus.restart_server(number)


def drain_server(bus: Bus, random: Random) -> None:
    """SIGTERM, as in a rolling update."""
    number = random.randrange(len(bus.servers))
    with bus.outage("drain", f"server:{number}"):
        assert bus.servers[number].terminate() == 0, bus.logs_of_servers()
        bus.restart_server(number)


def pause_server(bus: Bus, random: Random) -> None:
    """Suspended, for a shorter or longer time than the others take to consider it dead."""
    number = random.randrange(len(bus.servers))
    with bus.outage("pause", f"server:{number}"), bus.paused(bus.servers[number].process):
        time.sleep(random.choice((0.5, 1.5, 5.0)) * random.uniform(0.8, 1.2))


def kill_worker(bus: Bus, random: Random) -> None:
    """SIGKILL; another takes its place."""
    worker = random.choice(bus.workers)
    with bus.outage("kill", f"worker:{worker.name}"):
        worker.kill()
        worker.replace()


def pause_worker(bus: Bus, random: Random) -> None:
    """Suspended, for a shorter or longer time than its lease."""
    worker = random.choice(bus.workers)
    with bus.outage("pause", f"worker:{worker.name}"), bus.paused(worker.process):
        time.sleep(random.choice((1.0, 8.0)) * random.uniform(0.8, 1.2))


def kill_producer(bus: Bus, random: Random) -> None:
    """SIGKILL; another takes its place."""
    producer = random.choice(bus.producers)
    with bus.outage("kill", f"producer:{producer.name}"):
        producer.kill()
        producer.replace()


def kill_redis(bus: Bus, random: Random) -> None:
    """SIGKILL; it restarts with what it had on disk."""
    node = random.choice(bus.storage.nodes)
    with bus.outage("kill", "redis"):
        node.kill()
        time.sleep(random.choice((0.0, 1.0, 4.0)))
        bus.storage.restart(node)


def pause_redis(bus: Bus, random: Random) -> None:
    """Suspended, for a shorter or longer time than a replica may be silent."""
    with bus.outage("pause", "redis"), bus.paused(random.choice(bus.storage.nodes).process):
        time.sleep(random.choice((0.3, 1.5, 4.0)) * random.uniform(0.8, 1.2))


def move_slot(bus: Bus, random: Random) -> None:
    """A partition moves to another node of the cluster, key by key."""
    assert isinstance(bus.storage, Cluster)
    partition = random.choice(list(partitions_of(TOPIC, bus.partitions)))
    slot = bus.storage.moving_slot(f"{{{partition.hash_tag}}}")
    with bus.outage("move", "redis"):
        slot.begin()
        for key in slot.unmoved():
            slot.move(key)
            time.sleep(random.uniform(0.0, 0.1))
        slot.end()


def cut_link(bus: Bus, random: Random) -> None:
    """The connections of a server to Redis are reset, several times."""
    number = random.randrange(len(bus.servers))
    links = _links(bus)
    with bus.outage("cut", f"link:{number}"):
        for _ in range(random.randint(1, 5)):
            links.cut(number)
            time.sleep(random.uniform(0.0, 0.2))


def stall_link(bus: Bus, random: Random) -> None:
    """Nothing passes between a server and Redis. Then everything does, or the connections are cut."""
    number = random.randrange(len(bus.servers))
    links = _links(bus)
    with bus.outage("stall", f"link:{number}"):
        links.stall(number)
        time.sleep(random.choice((0.5, 1.5, 6.0)) * random.uniform(0.8, 1.2))
        if random.random() < 0.5:
            links.cut(number)
        links.flow(number)


def delay_link(bus: Bus, random: Random) -> None:
    """The link between a server and Redis is slow."""
    number = random.randrange(len(bus.servers))
    links = _links(bus)
    with bus.outage("delay", f"link:{number}"):
        links.delay(number, random.uniform(0.01, 0.1))
        time.sleep(random.uniform(1.0, 4.0))
        links.delay(number, 0)


def _links(bus: Bus) -> Links:
    assert isinstance(bus.storage, OneRedis)
    return bus.storage.links


ANYWHERE: tuple[Fault, ...] = (
    kill_redis,
    pause_redis,
    kill_server,
    drain_server,
    pause_server,
    kill_worker,
    pause_worker,
    kill_producer,
)
WITH_LINKS: tuple[Fault, ...] = (cut_link, stall_link, delay_link)
ON_CLUSTER: tuple[Fault, ...] = (move_slot,)


def course(bus: Bus, random: Random) -> Iterator[Fault]:
    """All faults repeatedly, each time in another order; never ends."""
    more = ON_CLUSTER if isinstance(bus.storage, Cluster) else WITH_LINKS
    while True:
        faults = [fault for fault in (*ANYWHERE, *more) if bus.producers or fault is not kill_producer]
        random.shuffle(faults)
        yield from faults


def run_faults(bus: Bus, random: Random, until: float) -> None:
    """One fault after the other, with short pauses, until ``time.monotonic()`` reaches this time."""
    with host_watched(bus):
        for fault in course(bus, random):
            if time.monotonic() > until:
                return
            fault(bus, random)
            time.sleep(random.choice((0.1, 1.0, 2.5)))


@contextmanager
def host_watched(bus: Bus) -> Iterator[None]:
    """Records as outages the times at which no process on this host got a processor."""
    ended = threading.Event()

    def watch() -> None:
        before = now_us()
        while not ended.wait(0.1):
            now = now_us()
            if now - before > (0.1 + STALL_S) * 1_000_000:
                bus.journal.write("outage", what="stall", target="host", began=before, ended=now)
            before = now

    thread = threading.Thread(target=watch, name="host watch")
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
