"""The benchmarks still run, and everything comes through; how fast is not for a test to say."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from bench import growth, report
from bench.__main__ import ENGINES, measure
from bench.growth import Load
from bench.scenarios import QUICK, SCENARIOS, IncompleteError, check_complete

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_comes_through(name: str, engine: str) -> None:
    figures = SCENARIOS[name](engine, QUICK)

    assert all(value >= 0 for value in figures.values())
    assert figures or name == "raw redis", "only the limit of Redis has nothing to say of the local engine"


def test_what_was_measured_is_reported(tmp_path: Path) -> None:
    measured = measure(["latency"], ["local"], 2, QUICK)
    report.write_json(tmp_path / "bench.json", measured)
    report.plot_latency(tmp_path / "latency.svg", measured)
    report.plot_backlog(tmp_path / "backlog.svg", {"local": {0: 10.0, 100: 9.0}})

    assert '"p99_ms"' in (tmp_path / "bench.json").read_text()
    assert "latency, local" in (tmp_path / "latency.svg").read_text()
    assert (tmp_path / "backlog.svg").stat().st_size
    assert report.table(measured).row_count == 3


@pytest.mark.parametrize(
    "load", [Load("processes", processes=2, topics=2, events=200), Load("groups", groups=4, events=200)], ids=str
)
def test_a_load_that_grows_comes_through(load: Load) -> None:
    assert growth.measure("redis", load)["deliveries_per_s"] > 0


@pytest.mark.parametrize("result", [{"handled": 9, "distinct": 9}, {"handled": 11, "distinct": 10}])
def test_a_run_that_loses_or_repeats_events_is_no_result(result: dict[str, int]) -> None:
    with pytest.raises(IncompleteError):
        check_complete(result, 10)
