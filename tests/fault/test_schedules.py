"""Schedules fire while servers, workers, Redis and the links between them fail.

``make chaos`` runs it for longer, and with another seed each time.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter, defaultdict
from dataclasses import dataclass
from datetime import datetime
from random import Random
from statistics import quantiles
from typing import TYPE_CHECKING

import grpc
import pytest
from duebus.v1 import event_bus_pb2, schedules_pb2, schedules_pb2_grpc
from fault.bus import DRAIN_TIMEOUT_S, LEASES_S, Bus
from fault.faults import run_faults
from fault.history import read_history
from fault.intervals import merged, overlap
from fault.journal import now_us
from fault.storage import OneRedis
from fault.worker import TOPIC
from support.wire import figure

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from fault.history import History

MINUTES = float(os.environ.get("CHAOS_MINUTES", "0.4"))
SEED = os.environ.get("CHAOS_SEED", "1")
SERVERS = int(os.environ.get("CHAOS_SERVERS", "2"))

SCHEDULES = 200
PERIODS_S = (1, 2, 3, 4, 5)
FIRES_FOR_S = round(MINUTES * 60) - 3
"""How long each schedule fires after it was put, however long it takes to put all. The faults begin after the last."""

SECOND_US = 1_000_000
RECOVERY_US = 3 * SECOND_US
"""How long after an outage a server may still be connecting."""

TIMEOUT_S = 10


@dataclass
class Planned:
    """A schedule whose nominal times are all known: it counts from its start, and has an end.

    Attributes:
        first_us: the first nominal time after it was put.
    """

    name: str
    period_us: int
    start_us: int
    end_us: int
    catches_up: bool
    first_us: int = 0

    def nominal_times(self) -> range:
        return range(self.first_us, self.end_us + 1, self.period_us)

    def put(self, stub: schedules_pb2_grpc.EventBusSchedulesStub) -> None:
        event = event_bus_pb2.Event(data=json.dumps({"name": self.name, "do": "ok"}).encode())
        schedule = schedules_pb2.Schedule(name=self.name, topic=TOPIC, event=event)
        schedule.every.FromMicroseconds(self.period_us)
        schedule.start.FromMicroseconds(self.start_us)
        schedule.end.FromMicroseconds(self.end_us)
        how = schedules_pb2.Schedule
        schedule.catch_up = how.CATCH_UP_ALL if self.catches_up else how.CATCH_UP_LAST
        answer = stub.PutSchedule(schedules_pb2.PutScheduleRequest(schedule=schedule), timeout=TIMEOUT_S)
        info = answer.schedule  # it may have fired before the answer was made
        self.first_us = info.next[0].ToMicroseconds() - (info.runs + info.missed) * self.period_us


class ScheduledBus(Bus):
    """The bus with schedules in place of producers."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, SEED, SERVERS, OneRedis(SERVERS), 1)
        self.planned: list[Planned] = []

    def _start_producers(self) -> None:
        start_us = now_us() // SECOND_US * SECOND_US
        with grpc.insecure_channel(self.servers[0].address) as channel:
            stub = schedules_pb2_grpc.EventBusSchedulesStub(channel)  # type: ignore[no-untyped-call]  # generated
            for number in range(SCHEDULES):
                period_us = PERIODS_S[number % len(PERIODS_S)] * SECOND_US
                own_us = start_us + number * 4_999  # spread over a second
                end_us = now_us() + FIRES_FOR_S * SECOND_US
                self.planned.append(Planned(f"schedule-{number}", period_us, own_us, end_us, number % 2 == 0))
                self.planned[-1].put(stub)

    def finish_schedules(self) -> dict[str, schedules_pb2.ScheduleInfo]:
        """All schedules, when each has settled its last nominal time.

        Raises:
            TimeoutError: some do not.
        """
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            infos = self._infos()
            if not any(info.next for info in infos.values()):
                return infos
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all have ended: {[info for info in infos.values() if info.next][:3]}")
            time.sleep(0.1)  # other processes can't signal the test

    def _infos(self) -> dict[str, schedules_pb2.ScheduleInfo]:
        with grpc.insecure_channel(self.servers[0].address) as channel:
            stub = schedules_pb2_grpc.EventBusSchedulesStub(channel)  # type: ignore[no-untyped-call]  # generated
            request = schedules_pb2.ListSchedulesRequest(page_size=SCHEDULES)
            answer = stub.ListSchedules(request, timeout=TIMEOUT_S)
        return {info.schedule.name: info for info in answer.schedules}


@pytest.mark.timeout(MINUTES * 60 + 3 * DRAIN_TIMEOUT_S + 120)
def test_each_nominal_time_has_one_event_or_is_counted_as_missed(tmp_path: Path) -> None:
    figure(f"seed {SEED} (CHAOS_SEED), {MINUTES:g} minutes, {SERVERS} servers, {SCHEDULES} schedules, in {tmp_path}")
    with ScheduledBus(tmp_path) as bus:
        run_faults(bus, Random(SEED), time.monotonic() + MINUTES * 60)
        infos = bus.finish_schedules()
        bus.finish()
        logs = bus.logs_of_servers()
        planned = bus.planned
    history = read_history(tmp_path)
    fired = fired_times(history)
    print_figures(history, planned, infos, fired)

    for one in planned:
        info, nominal = infos[one.name], one.nominal_times()
        for group in LEASES_S:
            got = fired[group, one.name]
            assert set(got) <= set(nominal), f"{one.name} fired at times that are not its own"
            assert len(got) == info.runs, f"{one.name} ran {info.runs} times, and {group} got {len(got)} events"
        assert info.runs + info.missed == len(nominal), one.name
        assert info.skipped == 0
        assert not one.catches_up or info.missed == 0, one.name
        assert [at for at, began in fired["billing", one.name].items() if began < at] == [], f"{one.name} was early"
    assert sum(info.runs for info in infos.values()) > SCHEDULES
    assert "unexpected error" not in logs


def fired_times(history: History) -> dict[tuple[str, str], dict[int, int]]:
    """The nominal times whose events were delivered, by group and schedule, with when each was dispatched."""
    fired: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)
    for delivery in history.deliveries:
        name, _, nominal = delivery.event_id.partition("@")
        at = round(datetime.fromisoformat(nominal).timestamp() * SECOND_US)
        due = fired[delivery.group, name].get(at, delivery.due)
        fired[delivery.group, name][at] = min(due, delivery.due)  # a later one may be of another attempt
    return fired


def print_figures(
    history: History,
    planned: Sequence[Planned],
    infos: dict[str, schedules_pb2.ScheduleInfo],
    fired: dict[tuple[str, str], dict[int, int]],
) -> None:
    """The faults, and how late schedules fired outside of outages."""
    faults = Counter(f"{one.what} {one.target.split(':')[0]}" for one in history.outages)
    figure(f"faults: {sum(faults.values())} ({', '.join(f'{name} {count}' for name, count in faults.most_common())})")
    outages = merged(
        (one.began, one.ended + RECOVERY_US) for one in history.outages if not one.target.startswith("worker")
    )
    late = [
        began - at
        for one in planned
        for at, began in fired["billing", one.name].items()
        if overlap(outages, at, max(began, at + 1)) == 0
    ]
    missed = sum(info.missed for info in infos.values())
    figure(f"nominal times: {sum(info.runs for info in infos.values())} fired, {missed} missed while nobody could fire")
    if len(late) > 1:
        percentiles = quantiles(late, n=1000)
        shown = {50: percentiles[499], 99: percentiles[989], 99.9: percentiles[998]}
        figure(
            f"lateness of {len(late)} outside of outages: "
            + ", ".join(f"p{share} {us / 1000:.1f} ms" for share, us in shown.items())
        )
