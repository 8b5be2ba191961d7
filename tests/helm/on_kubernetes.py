"""The chart on a Kubernetes API server: installed, upgraded, rolled back and removed by helm. `make kube` runs this.

It shows what the schemas can't: admission, what the server's own validation refuses, that an upgrade changes nothing
that may not change. There are neither controllers nor nodes, so no pod ever starts: it shows nothing about pods.
"""

from __future__ import annotations

import io
import json
import subprocess
import tarfile
import time
from typing import TYPE_CHECKING

import pytest
import yaml
from helm.make_schemas import CUSTOM, module
from support.chart import CHART, HELM, RELEASE, Object, RenderError, Values, matrix, overlaid, render_case, values_of
from support.chart import parse as parse_objects
from support.documents import ROOT
from support.kube import Cluster, cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ESTABLISHED_S = 60.0

RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("warn", "enforce")}

# What rows of the matrix refer to, and the API server looks for.
NEEDED: tuple[Object, ...] = (
    *(
        {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}, "value": 1}
        for name in ("low", "important", f"{RELEASE}-low")
    ),
    {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "fast"},
        "provisioner": "example.com/disks",
        "allowVolumeExpansion": True,
    },
)

UNRESTRICTED = {"extras", "overrides", "pods"}
"""Rows whose values lack, or turn off, what the restricted standard requires."""


@pytest.fixture(scope="module")
def kubernetes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A cluster with the definitions of all custom resources."""
    with cluster(tmp_path_factory.mktemp("kube")) as made:
        for name, paths in CUSTOM.items():
            for path in paths:
                define(made, yaml.safe_load((module(name) / path).read_text()))
        for each in NEEDED:
            assert made.create(each).status == 201
        yield made


def define(made: Cluster, definition: Object) -> None:
    """Create a CustomResourceDefinition, and wait until it can be used."""
    answer = made.create(definition)
    assert answer.status == 201, answer.body
    deadline_s = time.monotonic() + ESTABLISHED_S
    while "True" not in [each["status"] for each in conditions(made, definition) if each["type"] == "Established"]:
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def conditions(made: Cluster, definition: Object) -> list[Object]:
    """What is known of a definition."""
    found: list[Object] | None = (made.get(definition) or {}).get("status", {}).get("conditions")
    return found or []


def namespace(made: Cluster, name: str, **labels: str) -> str:
    """A namespace of its own."""
    answer = made.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    assert answer.status in (201, 409), answer.body
    return name


# --- every row of the matrix ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", matrix())
def test_the_api_server_accepts_every_object_of_a_case(kubernetes: Cluster, case: str) -> None:
    name, labels = ("unrestricted", {}) if case in UNRESTRICTED else ("restricted", RESTRICTED)
    namespace(kubernetes, name, **labels)
    for each in render_case(case):
        each["metadata"]["namespace"] = name
        answer = kubernetes.create(each, dry_run=True)
        assert answer.status == 201, answer.body["message"]
        assert answer.warnings == [] or case in UNRESTRICTED


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Deployment", ("spec", "replica"), 2),
        ("Service", ("spec", "ports", 0, "port"), 70_000),
        ("Deployment", ("spec", "template", "spec", "containers", 0, "image"), ""),
        ("Deployment", ("spec", "selector", "matchLabels", "app.kubernetes.io/name"), "other"),
        ("HorizontalPodAutoscaler", ("spec", "minReplicas"), 9),
    ],
)
def test_an_invalid_object_is_refused(
    kubernetes: Cluster, kind: str, path: tuple[str | int, ...], value: object
) -> None:
    made = next(each for each in render_case("autoscaling") if each["kind"] == kind)
    made["metadata"]["namespace"] = namespace(kubernetes, "refused")
    place = made
    for step in path[:-1]:
        place = place[step]  # type: ignore[index]  # an index of a list, too
    place[path[-1]] = value  # type: ignore[index]
    assert kubernetes.create(made, dry_run=True).status in (400, 422)


# --- installed, upgraded, rolled back, removed ------------------------------------------------------------------------

ALL = (
    "secured", "common", "service-account", "settings", "web-ingress", "service-monitor", "prometheus-rule-options",
    "dashboard", "tracing", "keda-options", "grpc-route", "ingress", "network-policy-options", "pods", "placement",
    "extras",
)  # fmt: skip
"""The rows whose options are on at once."""

OF_REDIS = ("bundled-redis-options", "processes", "autoscaling-options", "min-available")
OF_LOCAL = ("local-volume",)


def everything(*cases: str) -> Values:
    """The values of many rows."""
    merged: Values = {}
    for case in cases:
        merged = overlaid(merged, values_of(case))
    return merged


def on_redis() -> Values:
    """All options, with the bundled Redis."""
    values = everything(*ALL, *OF_REDIS)
    return overlaid(values, {"redis": {"url": ""}})


def on_local() -> Values:
    """All options that the local engine has."""
    return everything(*ALL, *OF_LOCAL)


ENGINES = {"redis": on_redis, "local": on_local}
WORKLOADS = {"redis": "Deployment", "local": "StatefulSet"}
CHANGES: Values = {
    "settings": {"maxRetries": 7, "logLevel": "debug"},
    "image": {"tag": "1.2.4"},
    "podLabels": {"rollout": "second"},
    "resources": {"requests": {"memory": "512Mi"}},
    "service": {"annotations": {"example.com/changed": "yes"}},
    "metrics": {"dashboard": {"enabled": False}},
}


class Helm:
    """helm on a cluster, for one release in one namespace."""

    def __init__(self, made: Cluster, namespace: str) -> None:
        self.cluster = made
        self.namespace = namespace

    def __call__(self, *arguments: str | Path, values: Values | None = None) -> str:
        """The output of a command.

        Raises:
            RenderError: it fails.
        """
        command = [HELM, *arguments, "--namespace", self.namespace, "--kubeconfig", self.cluster.kubeconfig]
        stdin = None if values is None else json.dumps(values)
        ran = subprocess.run(
            command if values is None else [*command, "--values", "-"],
            input=stdin, text=True, capture_output=True, timeout=120, check=False,
        )  # fmt: skip
        if ran.returncode:
            raise RenderError(ran.stderr)
        return ran.stdout

    def manifest(self) -> list[Object]:
        """The objects of the release, as the chart has rendered them."""
        rendered = parse_objects(self("get", "manifest", RELEASE))
        for each in rendered:
            each["metadata"].setdefault("namespace", self.namespace)
        return rendered

    def objects(self) -> dict[str, Object | None]:
        """The objects of the release as they are stored, by kind and name; None if one is missing."""
        return {f"{each['kind']} {each['metadata']['name']}": self.cluster.get(each) for each in self.manifest()}


@pytest.fixture
def helm_in(kubernetes: Cluster, request: pytest.FixtureRequest) -> Helm:
    """Helm in a namespace of the test's own."""
    name = "".join(letter if letter.isalnum() else "-" for letter in request.node.name.lower())[-60:].strip("-")
    return Helm(kubernetes, namespace(kubernetes, name))


def contents(objects: dict[str, Object | None]) -> dict[str, Object]:
    """What the objects say, without what the API server counts."""
    said = {}
    for name, stored in objects.items():
        assert stored is not None, f"{name} is missing"
        labels = {key: value for key, value in stored["metadata"].get("labels", {}).items() if key != "helm.sh/chart"}
        said[name] = {"spec": stored.get("spec"), "data": stored.get("data"), "labels": labels}
    return said


@pytest.mark.parametrize("engine", ENGINES)
def test_a_release_with_all_options_is_installed_upgraded_rolled_back_and_removed(helm_in: Helm, engine: str) -> None:
    # given: an installed release
    values = ENGINES[engine]()
    helm_in("install", RELEASE, CHART, values=values)
    installed = contents(helm_in.objects())
    assert len(installed) > 15

    # when: it is upgraded
    helm_in("upgrade", RELEASE, CHART, values=overlaid(values, CHANGES))
    upgraded = contents(helm_in.objects())
    servers = upgraded[f"{WORKLOADS[engine]} {RELEASE}-duebus"]
    assert servers["spec"]["template"]["metadata"]["labels"]["rollout"] == "second"
    assert set(installed) - set(upgraded) == {f"ConfigMap {RELEASE}-duebus-dashboard"}

    # when: it is rolled back
    helm_in("rollback", RELEASE)
    assert contents(helm_in.objects()) == installed

    # when: it is removed, only the claims stay
    objects = helm_in.manifest()
    helm_in("uninstall", RELEASE)
    stay = {each["kind"] for each in objects if helm_in.cluster.get(each) is not None}
    assert stay == {"PersistentVolumeClaim"}


@pytest.mark.parametrize("engine", ENGINES)
def test_the_chart_of_the_commit_before_is_upgraded_to_this_one_and_back(
    helm_in: Helm, engine: str, tmp_path: Path
) -> None:
    before = chart_before(tmp_path)
    values: Values = {"redis": values_of("bundled-redis"), "local": values_of("local")}[engine]
    helm_in("install", RELEASE, before, values=values)
    installed = contents(helm_in.objects())
    helm_in("upgrade", RELEASE, CHART, values=values)
    assert None not in helm_in.objects().values()
    helm_in("rollback", RELEASE)
    assert contents(helm_in.objects()) == installed


def chart_before(folder: Path) -> Path:
    """The chart before its last change, of what is committed."""
    commits = git("log", "--format=%H", "-2", "--", "helm/duebus").decode().split()
    assert len(commits) == 2, "the history of the chart is needed"
    with tarfile.open(fileobj=io.BytesIO(git("archive", commits[-1], "helm/duebus"))) as archive:
        archive.extractall(folder, filter="data")
    return folder / "helm" / "duebus"


def git(*arguments: str) -> bytes:
    """The output of git."""
    return subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, timeout=60).stdout


@pytest.mark.parametrize("case", ["local", "bundled-redis"])
def test_a_volume_grows_with_an_upgrade_and_shrinks_with_none(helm_in: Helm, case: str) -> None:
    # given: a claim that a provisioner has bound, which nothing here does
    def sized(size: str) -> Values:
        volume = {"persistence": {"size": size, "storageClassName": "fast"}}
        return overlaid(values_of(case), volume if case == "local" else {"redis": {"bundled": volume}})

    helm_in("install", RELEASE, CHART, values=sized("8Gi"))
    (claim,) = (each for each in helm_in.objects().values() if each and each["kind"] == "PersistentVolumeClaim")
    bound = {"phase": "Bound", "capacity": {"storage": "8Gi"}}
    assert helm_in.cluster.patch(claim, {"spec": {"volumeName": "disk"}}).status == 200
    assert helm_in.cluster.patch(claim, {"status": bound}, "/status").status == 200

    # then
    helm_in("upgrade", RELEASE, CHART, values=sized("20Gi"))
    (claim,) = (each for each in helm_in.objects().values() if each and each["kind"] == "PersistentVolumeClaim")
    assert claim["spec"]["resources"]["requests"]["storage"] == "20Gi"
    assert helm_in.cluster.patch(claim, {"status": {"capacity": {"storage": "20Gi"}}}, "/status").status == 200
    with pytest.raises(RenderError, match="field can not be less than"):
        helm_in("upgrade", RELEASE, CHART, values=sized("10Gi"))


def test_a_release_changes_its_engine(helm_in: Helm) -> None:
    helm_in("install", RELEASE, CHART, values=values_of("redis"))
    before = helm_in.objects()
    helm_in("upgrade", RELEASE, CHART, values=values_of("local"))
    assert None not in helm_in.objects().values()
    gone = {each["kind"] for each in before.values() if each and helm_in.cluster.get(each) is None}
    assert gone == {"Deployment", "PodDisruptionBudget"}
