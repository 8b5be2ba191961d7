"""Producers and workers under load while servers, workers, Redis and the links between them fail.

``make chaos`` runs it for longer, and with another seed each time.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from duebus_server.engine.redis.partition import Partition, partitions_of
from fault.bus import DRAIN_TIMEOUT_S, LEASES_S, Bus
from fault.checker import check
from fault.explanations import GIVEN_BACK
from fault.faults import run_faults
from fault.history import read_history
from fault.storage import Cluster, OneRedis
from fault.worker import TOPIC
from support.wire import figure

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from fault.checker import Report
    from fault.history import History

MINUTES = float(os.environ.get("CHAOS_MINUTES", "0.5"))
SEED = os.environ.get("CHAOS_SEED", "1")
SETS = ("waiting", "suspects", "prioritized", "leased", "upcoming", "blocked", "by_key")
LEAST_EVENTS = 500
"""A run with fewer proves nothing."""
SERVERS = int(os.environ.get("CHAOS_SERVERS", "2"))


@pytest.mark.timeout(MINUTES * 60 + 2 * DRAIN_TIMEOUT_S + 120)
@pytest.mark.parametrize(("kind", "partitions"), [("redis", 1), ("cluster", 4)])
def test_no_accepted_event_is_lost_early_or_with_two_holders(tmp_path: Path, kind: str, partitions: int) -> None:
    course = f"seed {SEED} (CHAOS_SEED), {MINUTES:g} minutes, {SERVERS} servers, {partitions} partitions on {kind}"
    figure(f"{course}, journals in {tmp_path}")
    storage = Cluster() if kind == "cluster" else OneRedis(SERVERS)
    with Bus(tmp_path, SEED, SERVERS, storage, partitions) as bus:
        run_faults(bus, Random(SEED), time.monotonic() + MINUTES * 60)
        bus.finish()
        left_in_redis: Counter[str] = Counter()
        with storage.open_client() as client:
            for partition in partitions_of(TOPIC, partitions):
                left_in_redis.update(remains(client, partition))
        logs = bus.logs_of_servers()
    history = read_history(tmp_path)
    report = check(history)
    print_figures(history, report)

    assert len(history.deliveries) > len(history.dispatched) > LEAST_EVENTS
    keyed = {(group, event.key) for event in history.dispatched if event.event_id and event.key for group in LEASES_S}
    assert report.ordered.keys() >= keyed, "the order of these keys was not checked"
    assert sum(report.ordered.values()) > LEAST_EVENTS
    assert report.violations == [], "\n".join(f"{one.kind}: {one.details}" for one in report.violations[:10])
    assert "unexpected error" not in logs
    assert "Redis had lost" not in logs, "a sweep found events that had lost their place"
    assert left_in_redis == Counter(events=dead_events(history))


def remains(client: Any, partition: Partition) -> Counter[str]:
    """What Redis still holds of a partition after all workers have left; fields of sessions with their values."""
    prefix = f"duebus:{{{partition.hash_tag}}}:"
    found = Counter(events=client.hlen(f"{prefix}events"))
    for group in LEASES_S:
        of_group = f"{prefix}group:{group}:"
        found.update({f"{group} {name}": client.zcard(of_group + name) for name in SETS})
        found[f"{group} keys"] = client.hlen(of_group + "keys")
        for name in ("in_flight", "sessions"):
            fields = client.hgetall(of_group + name)
            found.update(f"{name} of {group} in {partition}: {key!r}={value!r}" for key, value in fields.items())
        # A dead letter has a record.
        found[f"{group} records"] = client.hlen(of_group + "records") - client.zcard(of_group + "dead")
    return found


def dead_events(history: History) -> int:
    return len({left.event_id for left in history.left if left.state == "dead"})


def print_figures(history: History, report: Report) -> None:
    """The faults and their effects."""
    accepted = sum(event.event_id is not None for event in history.dispatched)
    faults = Counter(f"{one.what} {one.target.split(':')[0]}" for one in history.outages)
    figure(f"events: {accepted} accepted of {len(history.dispatched)}, {len(history.left)} copies left (dead letters)")
    figure(f"deliveries: {len(history.deliveries)}, {len(history.handlers_ended)} handlers ended")
    figure(f"faults: {sum(faults.values())} ({_listed(faults)})")
    figure(f"ordered: {sum(report.ordered.values())} events in {len(report.ordered)} keys of groups")
    asked_for = report.duplicates.pop(GIVEN_BACK, 0)
    figure(f"delivered again as asked for: {asked_for}")
    figure(f"duplicates, after a lease that was lost: {sum(report.duplicates.values())} ({_listed(report.duplicates)})")
    figure(f"two handlers at once, after a lease that was lost: {_listed(report.two_at_once) or 'never'}")
    slowest = ", ".join(f"{cause} {us / 1e6:.2f} s" for cause, us in report.slowest.most_common())
    figure(f"slowest redelivery, outages and retry delays included: {slowest}")
    figure(f"slowest delivery of a due event while all worked: {report.slowest_calm / 1e6:.3f} s")
    figure(f"violations: {_listed(Counter(one.kind for one in report.violations)) or 'none'}")


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.most_common())
