"""Kubernetes and the operators accept what the chart renders."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator
from support.chart import KUBERNETES, Object, matrix, render_case, rendered_case

SCHEMAS = Path(__file__).parent / "schemas"


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize("case", matrix())
def test_every_object_of_a_case_is_valid(case: str, kubernetes: str) -> None:
    assert [error for each in render_case(case) for error in errors(each, kubernetes)] == []


@pytest.mark.parametrize("case", ["redis", "local", "secured", "bundled-redis"])
def test_all_versions_of_kubernetes_get_the_same_objects(case: str) -> None:
    assert len({rendered_case(case, kubernetes) for kubernetes in KUBERNETES}) == 1


@pytest.mark.parametrize("kubernetes", KUBERNETES)
@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "template", "spec", "containers", 0, "livenessProb"), {}),
        ("Deployment", ("spec", "replicas"), "two"),
        ("Service", ("spec", "ports", 0, "port"), "grpc"),
        ("PodDisruptionBudget", ("spec", "maxUnavailable"), True),
        ("ScaledObject", ("spec", "trigger"), []),
        ("GRPCRoute", ("spec", "rules", 0, "matches", 0, "method", "type"), "Prefix"),
        ("ServiceMonitor", ("spec", "endpoints", 0, "interval"), 30),
        ("PersistentVolumeClaim", ("spec", "resources", "request"), {}),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "expr"), []),
    ],
)
def test_an_invalid_object_is_noticed(kubernetes: str, kind: str, path: tuple[str | int, ...], value: Any) -> None:
    # given: an object that is valid
    cases = ("redis", "local", "keda", "grpc-route", "service-monitor", "prometheus-rule")
    objects = [each for case in cases for each in render_case(case) if each["kind"] == kind]
    assert errors(objects[0], kubernetes) == []

    # when: a field is wrong
    place: Any = objects[0]
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    # then
    assert errors(objects[0], kubernetes) != []


def errors(rendered: Object, kubernetes: str) -> list[str]:
    """What is wrong with an object, each with its path."""
    kind = f"{rendered['apiVersion']} {rendered['kind']}"
    return [
        f"{kind} {rendered['metadata']['name']} at {error.json_path}: {error.message}"
        for error in validators(kubernetes)[kind].iter_errors(rendered)
    ]


@cache
def validators(kubernetes: str) -> dict[str, Draft7Validator]:
    """A validator for each kind, of Kubernetes and of operators."""
    found = {}
    for name in (f"kubernetes-{kubernetes}", "custom"):
        document = json.loads((SCHEMAS / f"{name}.json").read_text())
        for kind, schema in document["kinds"].items():
            found[kind] = Draft7Validator({**schema, "definitions": document["definitions"]})
    return found
