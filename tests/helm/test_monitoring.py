"""The alerts and the dashboard ask for metrics that the server has, in queries that Prometheus understands."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import promql_parser
import pytest
import yaml
from duebus_server.domain.clock import SystemClock
from duebus_server.domain.errors import DispatcherNotWorking
from duebus_server.domain.model import EngineName, LeaseBatch, LeasedEvent, NackAction, SubscriberInfo
from duebus_server.domain.rates import Limits
from duebus_server.domain.schedules import ADVANCED, Firing, ScheduleRecord
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.ops.metrics import Metrics
from prometheus_client.parser import text_string_to_metric_families
from support.chart import CHART, find, overlaid, render, render_case, values_of
from support.documents import ROOT, blocks, links
from support.promtool import promtool


async def scraped() -> bytes:
    """A scrape of a server in which everything that is counted has happened once."""
    metrics = Metrics(topics=1)
    group = (EngineName.LOCAL, "orders", "billing")
    event = LeasedEvent("e", b"", 1, 1, 0, 0, 0, "")
    away = DispatcherNotWorking("away")
    away.__cause__ = ConnectionError()
    engine = LocalEngine(SystemClock(), TopicConfig(max_queued=1, limits=Limits(max_in_flight=1)))
    await engine.start()
    await engine.join("orders", "billing", SubscriberInfo("session", "", 0))
    metrics.watch([engine])
    metrics.called(EngineName.LOCAL, "ack", 0.1, 1)
    metrics.failed(EngineName.REDIS, away)
    metrics.dispatched(EngineName.LOCAL, "orders", 1)
    metrics.delivered(*group, LeaseBatch([event], None), 1)
    metrics.acked(*group, 1)
    metrics.nacked(*group, NackAction.RETRY, 1)
    metrics.died(*group, 1)
    metrics.stored(EngineName.REDIS, "ack", 0.1)
    firing = Firing(ScheduleRecord("nightly", "orders", "", b""), nominal_us=1, event=None, missed=1)
    for outcome in ADVANCED:
        metrics.fired(EngineName.LOCAL, firing, outcome, now_us=1)
    metrics.rpc("/duebus.v1.EventBus/Ack", "OK", 0.1)
    return (await metrics.scrape()).text


def labels_by_metric() -> dict[str, set[str]]:
    """The labels of our metrics in a scrape of the server."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(asyncio.run(scraped()).decode()):
        for sample in family.samples if family.name.startswith("duebus_") else ():
            name = re.sub(r"_(bucket|sum|count)$", "", sample.name)
            found.setdefault(name, set()).update(sample.labels)
    return found


METRICS = labels_by_metric()
"""What the server exports, and the labels of each."""

TARGET = {"namespace", "pod"}
"""What a scrape adds."""

RULES = [
    rule for group in yaml.safe_load((CHART / "files" / "alerts.yaml").read_text())["groups"] for rule in group["rules"]
]
REPOSITORY = "https://github.com/duebus/duebus/blob/main"
RUNBOOKS = ROOT / "docs" / "runbooks"
TESTS = ROOT / "tests" / "helm" / "alerts_test.yaml"
DASHBOARD = json.loads((CHART / "files" / "dashboard.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_alerts_query_existing_metrics(rule: dict[str, Any]) -> None:
    check(rule["expr"])
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    assert rule["annotations"]["runbook_url"] == f"{REPOSITORY}/docs/runbooks/{rule['alert']}.md"


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_alerts_use_the_labels_of_their_results(rule: dict[str, Any]) -> None:
    spoken_of = set(re.findall(r"\$labels\.(\w+)", str(rule["annotations"])))
    assert spoken_of <= labels_of(promql_parser.parse(rule["expr"]))


def test_alerts_fire_for_what_they_are_about_and_for_nothing_else() -> None:
    status, printed = promtool("test", "rules", TESTS)
    assert (status, printed.count("SUCCESS")) == (0, 1), printed


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    fired: dict[str, set[bool]] = {}
    for case in yaml.safe_load(TESTS.read_text())["tests"]:
        for one in case["alert_rule_test"]:
            fired.setdefault(one["alertname"], set()).add(bool(one["exp_alerts"]))
    assert fired == {rule["alert"]: {True, False} for rule in RULES}


def test_promtool_finds_nothing_wrong_with_a_scrape() -> None:
    assert promtool("check", "metrics", stdin=asyncio.run(scraped()).decode()) == (0, "")


def test_each_alert_has_a_page_that_the_index_names() -> None:
    pages = {page.stem for page in RUNBOOKS.glob("*.md")} - {"README"}
    assert pages == {rule["alert"] for rule in RULES}
    assert pages == {target.removesuffix(".md") for target in links(RUNBOOKS / "README.md") if "/" not in target}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_the_queries_of_a_runbook_ask_for_existing_metrics(rule: dict[str, Any]) -> None:
    page = (RUNBOOKS / f"{rule['alert']}.md").read_text()
    for block in blocks(page, "promql"):
        for query in block.splitlines():
            check(query)
    for name in re.findall(r"`(duebus_\w+)`", page):
        assert name in METRICS


@pytest.mark.parametrize("panel", PANELS, ids=lambda panel: str(panel["title"]))
def test_panels_query_existing_metrics(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        check(without_variables(target["expr"]))
        legend = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
        assert legend <= labels_of(promql_parser.parse(without_variables(target["expr"])))


def test_every_metric_is_on_the_dashboard() -> None:
    asked = " ".join(target["expr"] for panel in PANELS for target in panel["targets"])
    assert {name for name in METRICS if name not in asked} == set()


def test_panels_do_not_overlap_and_have_unique_ids() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for place in (panel["gridPos"] for panel in panels):
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert max(x for x, _ in cells) < 24
        assert taken.isdisjoint(cells)
        taken |= cells


def test_a_variable_of_the_dashboard_is_defined() -> None:
    defined = {variable["name"] for variable in DASHBOARD["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)\}?", json.dumps(DASHBOARD["panels"]))) <= defined


def test_the_chart_installs_the_alerts_and_the_dashboard_unchanged() -> None:
    (group,) = find(render_case("prometheus-rule"), "PrometheusRule")["spec"]["groups"]
    assert group["rules"] == RULES
    assert json.loads(find(render_case("dashboard"), "ConfigMap", "-dashboard")["data"]["duebus.json"]) == DASHBOARD


def test_alerts_can_be_left_out_and_get_labels_of_your_own() -> None:
    own, added = find(render_case("prometheus-rule-options"), "PrometheusRule")["spec"]["groups"]
    wanted = values_of("prometheus-rule-options")["metrics"]["prometheusRule"]
    assert [rule["alert"] for rule in own["rules"]] == ["DueBusDeadLetters"]
    assert own["rules"][0]["labels"] == {"severity": "page", "team": "platform"}
    assert [added] == wanted["additionalGroups"]


def test_servers_that_are_scaled_down_are_not_missing() -> None:
    values = overlaid(values_of("prometheus-rule"), {"autoscaling": {"enabled": True}})
    (group,) = find(render(values), "PrometheusRule")["spec"]["groups"]
    left_out = [rule["alert"] for rule in RULES if rule not in group["rules"]]
    assert left_out == ["DueBusServerMissing"]


def test_the_scraped_port_has_metrics() -> None:
    objects = render_case("service-monitor")
    monitor, service = find(objects, "ServiceMonitor"), find(objects, "Service", "-headless")
    services = [each for each in objects if each["kind"] == "Service"]
    selector = monitor["spec"]["selector"]["matchLabels"].items()
    assert [each for each in services if selector <= each["metadata"]["labels"].items()] == [service]
    assert monitor["spec"]["endpoints"][0]["port"] in {port["name"] for port in service["spec"]["ports"]}


def check(expression: str) -> None:
    """Every selector of a query names an existing metric and its labels."""
    promql_parser.parse(expression)
    selectors = re.findall(r"(duebus_\w+)(?:\{([^}]*)\})?", expression)
    assert selectors
    for name, matchers in selectors:
        labels = METRICS.get(name) or METRICS[re.sub(r"_(bucket|sum|count)$", "", name)]
        assert set(re.findall(r"(\w+)\s*(?:=~|!=|!~|=)", matchers)) <= labels | TARGET
    for listed in re.findall(r"(?:by|on) \(([^)]*)\)", expression):
        known = set().union(*METRICS.values()) | TARGET
        assert set(re.split(r",\s*", listed)) <= known


def without_variables(expression: str) -> str:
    """A query as Grafana sends it."""
    return re.sub(r"\$\w+", ".*", expression.replace("$__rate_interval", "5m"))


def labels_of(expression: Any) -> set[str]:
    """The labels of the result of a query, as far as they can be read from it."""
    match expression:
        case promql_parser.AggregateExpr():
            return set(expression.modifier.labels) if expression.modifier else set()
        case promql_parser.BinaryExpr():
            return labels_of(expression.lhs)
        case promql_parser.ParenExpr():
            return labels_of(expression.expr)
        case promql_parser.Call():
            return set().union(*map(labels_of, expression.args))
        case promql_parser.VectorSelector():
            return METRICS[str(expression.name)] | TARGET
        case _:
            return set()
