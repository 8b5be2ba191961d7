"""The chart's guarantees, and the values that it refuses."""

from __future__ import annotations

import base64
import re
import shutil
import tomllib
from textwrap import indent
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit
from xml.etree import ElementTree

import pytest
import yaml
from duebus_server.config import Settings, load_settings
from support.chart import (
    CHART,
    KUBERNETES,
    NAMESPACE,
    RELEASE,
    RenderError,
    Values,
    find,
    matrix,
    overlaid,
    parse,
    render,
    render_case,
    render_text,
    run_helm,
    values_of,
)
from support.packing import pack_chart
from support.versions import version

if TYPE_CHECKING:
    from pathlib import Path

    from support.chart import Object

REDIS = values_of("redis")
SECURED = values_of("secured")


# --- as a whole -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kubernetes", KUBERNETES)
def test_helm_lint_finds_nothing(kubernetes: str, tmp_path: Path) -> None:
    for case in ("redis", "local", "secured"):
        values = tmp_path / f"{case}.yaml"
        values.write_text(yaml.safe_dump(values_of(case)))
        run_helm("lint", "--strict", CHART, "--kube-version", kubernetes, "--values", values)


def test_the_chart_says_whose_it_is_and_where_it_comes_from() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["home"] in chart["sources"]
    assert all(each["name"] and each["url"].startswith("https://") for each in chart["maintainers"])
    media_type, _, icon = chart["icon"].partition(",")
    assert media_type == "data:image/svg+xml;base64"
    assert ElementTree.fromstring(base64.b64decode(icon)).tag == "{http://www.w3.org/2000/svg}svg"  # noqa: S314  # ours


def test_the_packaged_chart_is_complete(tmp_path: Path) -> None:
    # given: the packaged chart
    pack_chart(tmp_path)
    (package,) = tmp_path.iterdir()

    # then: it renders the same as the folder
    rendered = run_helm(
        "template", RELEASE, package, "--namespace", NAMESPACE, "--kube-version", KUBERNETES[-1],
        "--values", "-", stdin=yaml.safe_dump(values_of("secured")),
    )  # fmt: skip
    assert parse(rendered) == render_case("secured")


UNRESTRICTED = {"pods", "extras"}
"""Their values take the restrictions away, or bring containers that have none."""


@pytest.mark.parametrize("case", [case for case in matrix() if case not in UNRESTRICTED])
def test_a_pod_runs_under_the_restricted_standard_without_a_token(case: str) -> None:
    for pod in pods(render_case(case)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["enableServiceLinks"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert "memory" in container["resources"]["limits"]


@pytest.mark.parametrize("case", matrix())
def test_services_and_budgets_select_the_servers_and_nothing_else(case: str) -> None:
    objects = render_case(case)
    templates = [
        each["spec"]["template"]["metadata"] for each in objects if each["kind"] in ("Deployment", "StatefulSet")
    ]
    labels = [each["labels"] for each in templates] + [
        each["metadata"]["labels"] for each in objects if each["kind"] == "Pod"
    ]

    for each in objects:
        if each["kind"] in ("Service", "PodDisruptionBudget"):
            selector = each["spec"]["selector"].get("matchLabels", each["spec"]["selector"])
            assert len([one for one in labels if selector.items() <= one.items()]) == 1, each


# --- the server's settings --------------------------------------------------------------------------------------------


def test_the_settings_have_the_servers_defaults() -> None:
    # given: the settings that the chart writes by default, and the server's own defaults
    written = tomllib.loads(config_of("redis"))
    defaults = Settings()

    # then: they are the same, except for what a pod needs; its addresses are flags
    loaded = load_settings(written_settings(written))
    different = {name for name in Settings.model_fields if getattr(loaded, name) != getattr(defaults, name)}
    assert different <= {"engine", "redis_url", "log_format"}


def test_every_setting_of_the_server_has_a_value() -> None:
    # given: what the cases write into the file, and what they give as flags
    written = {name for case in matrix() for name in tomllib.loads(config_of(case))}
    arguments = " ".join(pods(render_case("redis"))[0]["containers"][0]["args"])
    flags = {name.replace("-", "_") for name in re.findall(r"--([a-z-]+)=", arguments)}

    # then: only the password is not among them; the chart takes it from a Secret, as a file
    assert set(Settings.model_fields) - written - flags == {"redis_password"}


@pytest.mark.parametrize("case", matrix())
def test_the_server_accepts_the_file_that_the_chart_writes(case: str) -> None:
    written = tomllib.loads(config_of(case))
    assert load_settings(written_settings(written)).engine


@pytest.mark.parametrize(
    ("case", "files"),
    [
        ("redis", {}),
        ("bundled-redis", {}),
        ("redis-tls-without-certificate", {"ssl_ca_certs": "ca.crt"}),
        ("redis-tls", {"ssl_ca_certs": "ca.crt", "ssl_certfile": "tls.crt", "ssl_keyfile": "tls.key"}),
    ],
)
def test_the_url_of_redis_names_the_files_that_its_TLS_needs(case: str, files: dict[str, str]) -> None:  # noqa: N802
    query = urlsplit(tomllib.loads(config_of(case))["redis_url"]).query
    assert dict(parse_qsl(query, strict_parsing=bool(query))) == {
        name: f"/etc/duebus/redis-tls/{file}" for name, file in files.items()
    }


@pytest.mark.parametrize("case", matrix())
def test_every_file_in_the_settings_is_mounted(case: str) -> None:
    objects = render_case(case)
    (pod,) = (each for each in pods(objects) if each["containers"][0]["name"] == "duebus")
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}

    files = re.findall(r"/etc/duebus/[\w./-]+", config_of(case) + " ".join(pod["containers"][0]["args"]))

    assert files
    for file in files:
        folder, _, name = file.rpartition("/")
        assert name in files_of(volumes[mounts[folder]], objects), file


def test_a_new_configuration_restarts_the_servers_and_a_new_chart_does_not() -> None:
    def template(values: Values) -> Any:
        return find(render(values), "Deployment")["spec"]["template"]

    changed = overlaid(REDIS, {"settings": {"maxRetries": 4}})
    assert template(REDIS)["metadata"]["annotations"] != template(changed)["metadata"]["annotations"]
    assert "helm.sh/chart" not in template(REDIS)["metadata"]["labels"]


# --- names, labels and objects ---------------------------------------------------------------------------------------


LONGEST = {"StatefulSet": 52, "Service": 63, "Pod": 63, "ScaledObject": 63}
"""A StatefulSet's name and a hash are a label; KEDA makes a label of the name of a ScaledObject."""


@pytest.mark.parametrize("case", ["long-release", "long-release-local"])
def test_every_name_of_the_longest_release_is_short_enough_and_found(case: str) -> None:
    objects = render_case(case)
    for each in objects:
        assert len(each["metadata"]["name"]) <= LONGEST.get(each["kind"], 253), each["metadata"]["name"]
        assert all(len(label) <= 63 for label in each["metadata"]["labels"].values())
    names = {(each["kind"], each["metadata"]["name"]) for each in objects}
    (stateful,) = (each["spec"] for each in objects if each["kind"] == "StatefulSet")
    volumes = stateful["template"]["spec"]["volumes"]
    (claim,) = (each["persistentVolumeClaim"]["claimName"] for each in volumes if "persistentVolumeClaim" in each)
    assert {("Service", stateful["serviceName"]), ("PersistentVolumeClaim", claim)} <= names
    config = next(each["data"]["duebus.toml"] for each in objects if "duebus.toml" in each.get("data", {}))
    if url := tomllib.loads(config).get("redis_url"):
        assert ("Service", str(urlsplit(url).hostname).split(".")[0]) in names


def test_labels_that_repeat_the_charts_own_replace_them_except_where_it_selects() -> None:
    # given: labels that repeat those of the chart; that no key is there twice, the reader of the YAML has seen
    objects = render_case("repeated-labels")
    labels = find(objects, "Deployment")["spec"]["template"]["metadata"]["labels"]
    assert labels["app.kubernetes.io/part-of"] == "pods"
    assert labels["app.kubernetes.io/name"] == "duebus"
    assert labels["app.kubernetes.io/component"] == "server"
    assert find(objects, "ServiceMonitor")["metadata"]["labels"]["team"] == "observers"

    # then: the checksum stays the chart's, so that a new configuration still restarts the servers
    annotations = find(objects, "Deployment")["spec"]["template"]["metadata"]["annotations"]
    assert annotations["checksum/config"] != "mine"
    assert annotations["kubectl.kubernetes.io/default-container"] == "proxy"


@pytest.mark.parametrize("case", ["secured", "local", "bundled-redis-options", "keda-options", "web-ingress", "names"])
def test_every_object_can_be_overridden(case: str) -> None:
    # given: the objects of a case, each with the key that the refusal of an unknown one lists
    values = values_of(case)
    with pytest.raises(RenderError, match="the objects are") as refused:
        render(overlaid(values, {"overrides": {"Typo": {"a": "b"}}}))
    (listed,) = re.findall(r"the objects are (.*)", str(refused.value))
    keys = listed.split(", ")
    own = render(values)
    assert len(set(keys)) == len(keys) == len(own)

    # when
    overrides = {key: {"metadata": {"annotations": {"key": key, "release": "{{ .Release.Name }}"}}} for key in keys}
    objects = render(overlaid(values, {"overrides": overrides}))

    # then: each has its annotations, and nothing else is different
    assert sorted(each["metadata"]["annotations"].pop("key") for each in objects) == sorted(keys)
    assert {each["metadata"]["annotations"].pop("release") for each in objects} == {RELEASE}
    for each in [*own, *objects]:
        if not each["metadata"].get("annotations", True):
            del each["metadata"]["annotations"]
    assert sorted(objects, key=named) == sorted(own, key=named)


def test_every_template_can_be_overridden() -> None:
    # given: the templates that make objects, other than those of the values
    templates = {each.stem for each in (CHART / "templates").rglob("*.yaml")} - {"extraobjects"}

    # then
    listed = (CHART / "templates" / "_overrides.tpl").read_text()
    assert set(re.findall(r"^- (\w+)$", listed, re.MULTILINE)) == templates


@pytest.mark.parametrize("enabled", [True, False])
def test_a_parent_chart_can_leave_it_out(tmp_path: Path, enabled: bool) -> None:
    # given: a chart with this one as a dependency, on a condition
    parent = tmp_path / "shop"
    shutil.copytree(CHART, parent / "charts" / "duebus")
    dependency = {"name": "duebus", "version": version(), "condition": "duebus.enabled"}
    chart = {"apiVersion": "v2", "name": "shop", "version": "1.0.0", "dependencies": [dependency]}
    (parent / "Chart.yaml").write_text(yaml.safe_dump(chart))

    # when
    rendered = render_text({"duebus": {**REDIS, "enabled": enabled}}, chart=parent)

    # then
    assert bool(parse(rendered)) is enabled


# --- the network ------------------------------------------------------------------------------------------------------


def test_a_network_policy_lets_through_what_the_values_point_to() -> None:
    policy = find(render_case("network-policy-of-what-is-configured"), "NetworkPolicy")["spec"]

    # then: out to DNS, the sentinels and Redis behind them, the collector of traces, and the keys of JWTs
    assert ports_of(policy["egress"]) == {53, 26379, 26380, 6379, 4317, 443}

    # then: in for clients, KEDA, scrapers, browsers and the probes
    assert ports_of(policy["ingress"]) == {"grpc", "http", "web", "health"}
    (bus,) = (each["from"] for each in policy["ingress"] if each["ports"][0]["port"] == "grpc")
    assert {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "autoscaling"}}} in bus


@pytest.mark.parametrize(
    ("url", "ports"),
    [
        ("redis://redis.example", {6379}),
        ("redis://redis.example:6390/1", {6390}),
        ("rediss://user@[fd00::7]:6391/0", {6391}),
        ("redis://[fd00::7]", {6379}),
        ("redis+cluster://a.example:7000,b.example:7001,c.example", {7000, 7001, 6379}),
        ("redis+sentinel://a.example:26379/main", {26379, 6379}),
        ("redis://{{ .Release.Name }}-redis:6392/0", {6392}),
        ("unix:///run/redis.sock", set()),
    ],
)
def test_the_ports_of_redis_are_those_of_its_url(url: str, ports: set[int]) -> None:
    values = {"redis": {"url": url}, "networkPolicy": {"enabled": True, "egress": {"enabled": True}}}
    assert ports_of(find(render(values), "NetworkPolicy")["spec"]["egress"]) == {53} | ports


# --- stopping ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("drain", "seconds"),
    [("30s", 45), ("500ms", 16), ("0s", 15), ("1.5m", 105), ("1h", 3615), ("1 h", 3615), ("0.25 s", 16)],
)
def test_the_grace_period_covers_the_drain(drain: str, seconds: int) -> None:
    pod = pods(render(overlaid(REDIS, {"settings": {"drainTimeout": drain}})))[0]
    assert pod["terminationGracePeriodSeconds"] == seconds


@pytest.mark.parametrize(
    ("kubernetes", "waiting"),
    [
        ("1.29", {"exec": {"command": ["sleep", "5"]}}),
        ("1.30", {"sleep": {"seconds": 5}}),
        ("v1.37.2-gke.1", {"sleep": {"seconds": 5}}),
    ],
)
def test_a_pod_waits_for_its_removal_from_the_services_before_it_drains(kubernetes: str, waiting: Object) -> None:
    assert pods(render(REDIS, kubernetes))[0]["containers"][0]["lifecycle"]["preStop"] == waiting


def test_probes_speak_plaintext_and_ask_the_health_port_when_there_is_tls() -> None:
    plain, secured = (pods(render(values))[0]["containers"][0] for values in (REDIS, SECURED))
    assert (plain["readinessProbe"]["grpc"], secured["readinessProbe"]["grpc"]) == ({"port": 50051}, {"port": 50052})
    assert {port["containerPort"] for port in secured["ports"]} >= {50051, 50052}
    assert 'health_listen = "0.0.0.0:50052"' in config_of("secured")


def test_no_probe_restarts_a_server_that_waits_for_redis() -> None:
    without_http = {**REDIS, "http": {"enabled": False}}
    plain, bare = (pods(render(values))[0]["containers"][0] for values in (REDIS, without_http))
    for probe in ("startupProbe", "livenessProbe"):
        assert plain[probe]["httpGet"] == {"path": "/healthz", "port": 9090}
        assert bare[probe]["tcpSocket"] == {"port": 50051}


# --- combinations -----------------------------------------------------------------------------------------------------


def test_the_engine_local_never_runs_in_two_pods() -> None:
    objects = render_case("local")
    assert find(objects, "StatefulSet")["spec"]["replicas"] == 1
    assert {each["kind"] for each in objects}.isdisjoint({"Deployment", "PodDisruptionBudget"})


def test_the_engine_local_has_its_data_directory_on_a_volume() -> None:
    objects = render_case("local")
    (claim,) = (each["metadata"]["name"] for each in objects if each["kind"] == "PersistentVolumeClaim")
    pod = pods(objects)[0]
    (volume,) = (
        each["name"] for each in pod["volumes"] if each.get("persistentVolumeClaim", {}).get("claimName") == claim
    )
    (mount,) = (each for each in pod["containers"][0]["volumeMounts"] if each["name"] == volume)
    assert tomllib.loads(config_of("local"))["data_dir"].startswith(f"{mount['mountPath']}/")
    assert "data_dir" not in config_of("local-in-memory") + config_of("redis")
    assert "PersistentVolumeClaim" not in {each["kind"] for each in render_case("local-in-memory")}


@pytest.mark.parametrize("size", ["8Gi", "500M", "1.5Ti"])
def test_the_engine_local_holds_no_more_than_its_volume(size: str) -> None:
    # given: a volume, and no limit of the values
    objects = render({"engines": ["local"], "persistence": {"size": size}})
    config = next(each["data"]["duebus.toml"] for each in objects if "duebus.toml" in each.get("data", {}))

    # then: the limit that the server gets leaves two thirds of it, without the reserve, to the journal
    bytes_of = {"8Gi": 8 << 30, "500M": 500_000_000, "1.5Ti": 3 << 39}[size]
    limit = load_settings(written_settings(tomllib.loads(config))).local_max_queued_bytes
    assert 0 <= bytes_of - (100 << 20) - 3 * limit < 3


def test_a_larger_volume_changes_only_its_claim() -> None:
    # given: what Kubernetes refuses is a change of a StatefulSet's claims
    for case, path in (("local", ("persistence",)), ("bundled-redis", ("redis", "bundled", "persistence"))):
        over: Values = {"size": "50Gi"}
        for step in reversed(path):
            over = {step: over}
        before, after = render_case(case), render(overlaid(values_of(case), over))

        # then: the claim is an object of its own, which stays when the release goes
        (claim,) = (each for each in after if each["kind"] == "PersistentVolumeClaim")
        assert claim["spec"]["resources"]["requests"]["storage"] == "50Gi"
        assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        stateful = [[each for each in objects if each["kind"] == "StatefulSet"] for objects in (before, after)]
        assert all("volumeClaimTemplates" not in each["spec"] for each in stateful[1])
        assert [each["spec"]["template"]["spec"] for each in stateful[0]] == [
            each["spec"]["template"]["spec"] for each in stateful[1]
        ]


def test_with_an_autoscaler_the_number_of_replicas_is_left_alone() -> None:
    assert "replicas" not in find(render_case("autoscaling"), "Deployment")["spec"]
    assert find(render(overlaid(REDIS, {"replicaCount": 0})), "Deployment")["spec"]["replicas"] == 0


def test_the_targets_of_an_autoscaler_are_those_of_a_process_times_their_number() -> None:
    metrics = find(render_case("autoscaling-of-processes"), "HorizontalPodAutoscaler")["spec"]["metrics"]
    assert [each.get("pods", each.get("resource"))["target"]["averageValue"] for each in metrics] == [
        "2600m", "8000", "1200",
    ]  # fmt: skip
    assert {each["pods"]["metric"]["name"] for each in metrics if "pods" in each} == {"duebus_streams", "duebus_rpcs"}


def test_secrets_are_only_referenced_by_name() -> None:
    for case in ("secured", "redis-secret", "redis-url-secret", "keda-options"):
        kinds = {each["kind"] for each in render_case(case)}
        assert "Secret" not in kinds
    assert "redis_url" not in config_of("redis-url-secret")
    assert 'redis_password_file = "/etc/duebus/redis/password"' in config_of("redis-secret")


def test_only_the_service_of_the_bus_is_reachable_from_outside() -> None:
    objects = render_case("load-balancer")
    assert [port["name"] for port in find(objects, "Service")["spec"]["ports"]] == ["grpc"]
    (match,) = find(render_case("grpc-route"), "GRPCRoute")["spec"]["rules"][0]["matches"]
    assert match["method"]["service"] == "duebus.v1.EventBus"


# --- after the installation -------------------------------------------------------------------------------------------


def test_the_notes_have_the_next_commands_and_warnings(tmp_path: Path) -> None:
    notes = notes_of(REDIS, tmp_path)
    assert f"helm test {RELEASE} --namespace {NAMESPACE}" in notes
    assert f"kubectl --namespace {NAMESPACE} port-forward service/{RELEASE}-duebus 50051:50051" in notes
    assert "WARNING: anyone who can connect can use the bus" in notes
    assert "WARNING" not in notes_of(SECURED, tmp_path)
    assert "WARNING: the local engine keeps events in the memory" in notes_of(values_of("local-in-memory"), tmp_path)
    assert "the local engine" not in notes_of(values_of("local"), tmp_path)
    assert "WARNING: the bundled Redis is for trials" in notes_of(values_of("bundled-redis"), tmp_path)
    assert "WARNING: tokens are sent over the network in plaintext" in notes_of(values_of("acl-file"), tmp_path)


def notes_of(values: Values, folder: Path) -> str:
    """What helm prints after an installation; `helm template` leaves it out, so the test puts it into an object."""
    chart = folder / "duebus"
    shutil.copytree(CHART, chart, dirs_exist_ok=True)
    notes = indent((CHART / "templates" / "NOTES.txt").read_text(), "  ", lambda _: True)
    (chart / "templates" / "notes.yaml").write_text(f"kind: Notes\nmetadata: {{name: notes}}\ntext: |\n{notes}")
    where = (RELEASE, chart, "--namespace", NAMESPACE, "--show-only", "templates/notes.yaml")
    (shown,) = parse(run_helm("template", *where, "--values", "-", stdin=yaml.safe_dump(values)))
    return str(shown["text"])


# --- helpers ----------------------------------------------------------------------------------------------------------


def pods(objects: list[Object]) -> list[Any]:
    """The specs of all pods, that of the server first."""
    found = [each["spec"]["template"]["spec"] for each in objects if each["kind"] in ("Deployment", "StatefulSet")]
    found += [each["spec"] for each in objects if each["kind"] == "Pod"]
    return sorted(found, key=lambda pod: pod["containers"][0]["name"] != "duebus")


def named(rendered: Object) -> tuple[str, str]:
    """The kind and the name of an object."""
    return rendered["kind"], rendered["metadata"]["name"]


def ports_of(rules: list[Object]) -> set[int | str]:
    """The ports that the rules of a NetworkPolicy name."""
    return {each["port"] for rule in rules for each in rule["ports"]}


def written_settings(written: dict[str, Any]) -> dict[str, Any]:
    """The settings of a file, as its reader takes them: numbers as text, too."""
    assert set(written) <= set(Settings.model_fields)
    return {name: value if isinstance(value, list) else str(value) for name, value in written.items()}


def config_of(case: str) -> str:
    """The server's TOML file of a case."""
    (config,) = (each["data"]["duebus.toml"] for each in render_case(case) if "duebus.toml" in each.get("data", {}))
    return str(config)


def files_of(volume: Object, objects: list[Object]) -> set[str]:
    """The names of the files in a volume."""
    source = volume.get("secret") or volume["configMap"]
    if "items" in source:
        return {item["path"] for item in source["items"]}
    return {name for each in objects if each["metadata"]["name"] == source["name"] for name in each.get("data", {})}
