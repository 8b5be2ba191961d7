"""The benchmarks of growth run, and nodes of Redis get their share of a core, or the command says why not."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

import pytest
from bench import growth, nodes, readings, volume
from bench.cpu_quota import CpuQuota, QuotaError
from bench.growth import Load
from bench.nodes import Size, Topics
from bench.scenarios import QUICK

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    "load",
    [
        Load("processes", processes=2, topics=2, events=200),
        Load("groups", groups=4, events=200),
        Load("nodes", nodes=3, partitions=2, events=200),
    ],
    ids=str,
)
def test_a_load_runs(load: Load) -> None:
    assert growth.measure("redis", load)["deliveries_per_s"] > 0


@pytest.mark.parametrize(
    "shape",
    [Topics("topics", 4, 1, 1, 1), Topics("partitions", 1, 4, 2, 1), Topics("processes", 1, 4, 2, 1, processes=2)],
    ids=str,
)
def test_a_bus_is_kept_busy_for_a_while(shape: Topics) -> None:
    figures = nodes.measure(shape, 2, Size(share=0, warm_up_s=0.2, window_s=2))

    assert figures["events_per_s"] > 0


def test_growth_is_compared_with_the_fewest_nodes_of_the_same_round() -> None:
    rows = nodes.rows_of([nodes.MANY_TOPICS], [1, 6])
    for base, rate in ((1_000.0, 5_000.0), (2_000.0, 6_000.0), (1_000.0, 6_000.0)):
        for count, events_per_s in ((1, base), (6, rate)):
            figures = {"events_per_s": events_per_s, "redis_us": 9.0, "redis_share": 1.0, "others_cores": 0.5}
            rows[nodes.MANY_TOPICS, count].append(figures)

    last = nodes.table(rows)[-1]

    assert last[:4] == ["48 topics", "6", "6,000 (5,000 to 6,000)", "0.833 (0.5 to 1)"]


@pytest.fixture(params=["v1", "v2"])
def cgroups(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Files like those of the machine's control groups."""
    if request.param == "v2":
        (tmp_path / "cgroup.controllers").write_text("cpuset cpu io\n")
    else:
        (tmp_path / "cpu").mkdir()
        (tmp_path / "cpu" / "cgroup.procs").write_text("")
    return tmp_path


def test_a_quota_is_a_millisecond_of_a_period_that_makes_the_share(cgroups: Path) -> None:
    CpuQuota(0.05, cgroups).add(4_242)

    (procs,) = cgroups.rglob("duebus-bench-*/cgroup.procs")
    assert procs.read_text() == "4242"
    set_to = {path.name: path.read_text() for path in procs.parent.iterdir()}
    quota = (set_to["cpu.cfs_quota_us"], set_to["cpu.cfs_period_us"]) if "cpu.shares" in set_to else set_to["cpu.max"]
    assert quota in (("1000", "20000"), "1000 20000")


@pytest.mark.parametrize("has_controller", [True, False])
def test_a_machine_without_quotas_is_one_line(
    has_controller: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if has_controller:
        (tmp_path / "cgroup.controllers").write_text("cpu")
        (tmp_path / "cgroup.subtree_control").mkdir()  # not writable
    monkeypatch.setattr(CpuQuota.__init__, "__defaults__", (tmp_path,))

    growth.measure_nodes(argparse.Namespace(nodes=[1, 2], share=0.1, rounds=2))

    said = " ".join(capsys.readouterr().out.split())
    assert "nodes are not measured: " in said
    assert ("a CPU quota can't be set below" in said) is has_controller
    with pytest.raises(QuotaError):
        CpuQuota(0.1)


@pytest.mark.parametrize("kind", volume.VOLUMES)
def test_a_volume_is_compared_with_an_empty_bus(kind: str) -> None:
    one = volume.VOLUMES[kind][-1]

    result = volume.measure(one, 150, 1, QUICK)

    assert result.costs["per_s"] > 0
    name, *costs = volume.costs_table([result])[1]
    assert name == f"150 {one.name}"
    assert ("-" in costs) is (one.engine != "redis"), "only local has no figures of Redis"
    assert all(float(ratio.replace(",", "")) >= 0 for ratio in volume.ratios_table([result])[1][1:])


@pytest.mark.parametrize("topics", readings.READINGS, ids=lambda topics: topics.name)
def test_a_reading_of_many_topics_is_measured(topics: readings.Topics) -> None:
    runs = readings.measure(topics, 120, 1)

    assert all(figures["scrape_ms"] > 0 for figures in runs)
    name, *figures = readings.table(120, {topics: runs})[1]
    assert name == f"120 {topics.name}"
    assert ("-" in figures) is (topics.engine != "redis"), "only local has no figures of Redis"


def test_all_rounds_are_written(tmp_path: Path) -> None:
    growth.write_json(tmp_path / "nodes.json", [{"load": "topics", "rounds": [{"redis_us": 9.0}]}], share=0.1)

    assert json.loads((tmp_path / "nodes.json").read_text())["measured"][0]["rounds"] == [{"redis_us": 9.0}]
