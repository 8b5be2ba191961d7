"""The benchmarks run, and all events come through. The tests do not check speed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench import clients, dashboard, journal, report, schedules
from bench.__main__ import ENGINES, measure, write_tables
from bench.report import Series
from bench.scenarios import QUICK, SCENARIOS, IncompleteError, check_complete
from conformance.languages import read_languages

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_runs(name: str, engine: str) -> None:
    figures = SCENARIOS[name](engine, QUICK)

    assert all(value >= 0 for value in figures.values())
    assert figures or (name, engine) in {("raw redis", "local"), ("memory, journal", "redis")}


@pytest.mark.parametrize("engine", ENGINES)
def test_schedules_are_measured(engine: str) -> None:
    measured = schedules.measure(engine, schedules.QUICK)

    assert all(value >= 0 for figures in measured.values() for value in figures.values())
    assert measured["idle, all at once"]["server_percent"] > 0


@pytest.mark.parametrize("engine", ENGINES)
def test_the_dashboard_is_measured(engine: str) -> None:
    measured = dashboard.measure(engine, dashboard.QUICK)

    assert measured["with pages"]["server_percent"] > 0


def test_the_lists_of_the_dashboard_are_measured() -> None:
    measured = dashboard.browse(dashboard.QUICK)

    assert all(figures["p50_ms"] > 0 for figures in measured.values())


def test_measurements_are_reported(tmp_path: Path) -> None:
    measured = measure(["latency"], ["local"], 2, QUICK)
    report.write_json(tmp_path / "bench.json", measured)
    report.plot_latency(tmp_path / "latency.svg", measured)
    report.plot_backlog(tmp_path / "backlog.svg", {"local": {0: 10.0, 100: 9.0}})

    assert '"p99_ms"' in (tmp_path / "bench.json").read_text()
    assert "latency, local" in (tmp_path / "latency.svg").read_text()
    assert (tmp_path / "backlog.svg").stat().st_size
    assert report.table(measured).row_count == 3


@pytest.mark.parametrize("name", journal.SCENARIOS)
def test_the_journal_is_measured_against_memory_and_the_disk(name: str) -> None:
    measured = journal.measure(journal.SCENARIOS[name], [], QUICK)
    assert all(figures["events_per_s"] > 0 for figures in measured.values())

    made = journal.rows({name: [measured]}, [])
    assert [row[0] for row in made[1:]] == [
        "the disk alone",
        "DueBus, local (in memory)",
        "DueBus, local, `everysec`",
        "DueBus, local, `always`",
    ]


def test_a_journal_that_syncs_always_is_limited_by_the_slower_of_memory_and_the_disk() -> None:
    rates = {"disk": 80.0, "local": 100.0, "local-everysec": 90.0, "local-always": 72.0}
    measured = {name: {"events_per_s": rate} for name, rate in rates.items()}
    assert journal.share_of_limit(measured, "local-everysec") == pytest.approx(0.9)
    assert journal.share_of_limit(measured, "local-always") == pytest.approx(0.9)


def test_a_client_is_compared_with_go_in_the_same_round_and_on_the_same_engine() -> None:
    def runs(*rates: float) -> list[dict[str, float]]:
        costs = {f"{part}_{figure}": 5.0 for part in clients.PARTS for figure in ("client_us", "server_us")}
        return [{"dispatch_per_s": rate, "drain_per_s": 3 * rate, **costs} for rate in rates]

    go, rust = (read_languages()[name] for name in ("go", "rust"))
    lines = clients.table({(rust, "redis"): runs(5, 20), (go, "local"): runs(1, 1), (go, "redis"): runs(10, 20)})

    assert [line[:3] for line in lines[1:]] == [
        ["Rust, redis", "12.5 (5 to 20)", "0.75 (0.5 to 1)"],
        ["Go, local", "1 (1 to 1)", "1 (1 to 1)"],
        ["Go, redis", "15 (10 to 20)", "1 (1 to 1)"],
    ]
    assert lines[1][5:7] == ["37.5 (15 to 60)", "0.75 (0.5 to 1)"]


def test_targets_are_shown_beside_the_results(tmp_path: Path) -> None:
    fast, slow = Series("end-to-end", "redis"), Series("raw redis", "redis")
    for value in (20_000, 30_000, 40_000):
        fast.add({"events_per_s": value})
        slow.add({"events_per_s": 2 * value})
    document = tmp_path / "page.md"
    document.write_text("<!-- targets: begin --> old <!-- targets: end --><!-- figures: begin --><!-- figures: end -->")

    write_tables(document, [fast, slow])

    written = document.read_text()
    assert "| end to end, events/s | 30,000 | 30,000 (20,000 to 40,000) | 50,000 | - |" in written
    assert "| end to end, share of raw redis-py |  | 0.5 |  | - |" in written
    assert "| raw redis | redis | events_per_s | 60,000 | 40,000 | 80,000 |" in written
    assert "old" not in written


@pytest.mark.parametrize("result", [{"handled": 9, "distinct": 9}, {"handled": 11, "distinct": 10}])
def test_a_run_that_loses_or_repeats_events_is_discarded(result: dict[str, int]) -> None:
    with pytest.raises(IncompleteError):
        check_complete(result, 10)
