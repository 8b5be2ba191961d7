"""Makes the schemas of the kinds that the chart renders, of Kubernetes and of operators, and that of Compose.

`make helm-schemas` runs it. The sources are Go modules, which carry the OpenAPI document of their version and their
custom resource definitions. What is kept is what the kinds need, without descriptions.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import yaml

SCHEMAS = Path(__file__).parent / "schemas"

KUBERNETES = {"1.34": "v1.34.4", "1.35": "v1.35.4", "1.36": "v1.36.3", "1.37": "v1.37.2"}
"""The patch release that stands for each minor version."""

KINDS = {
    "v1": ("ConfigMap", "PersistentVolumeClaim", "Pod", "Service", "ServiceAccount"),
    "apps/v1": ("Deployment", "StatefulSet"),
    "autoscaling/v2": ("HorizontalPodAutoscaler",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "policy/v1": ("PodDisruptionBudget",),
}
CUSTOM = {
    "github.com/prometheus-operator/prometheus-operator@v0.85.0": (
        "example/prometheus-operator-crd/monitoring.coreos.com_podmonitors.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_prometheusrules.yaml",
        "example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",
    ),
    "github.com/kedacore/keda/v2@v2.21.0": (
        "config/crd/bases/keda.sh_scaledobjects.yaml",
        "config/crd/bases/keda.sh_triggerauthentications.yaml",
    ),
    "sigs.k8s.io/gateway-api@v1.6.3": ("config/crd/standard/gateway.networking.k8s.io_grpcroutes.yaml",),
}

COMPOSE = "github.com/compose-spec/compose-go/v2@v2.16.2"
COMPOSE_SCHEMA = Path(__file__).parents[1] / "deploy" / "compose-spec.json"

PREFIX = "#/definitions/"
INT_OR_STRING = {"anyOf": [{"type": "integer"}, {"type": "string"}]}
QUANTITY = {"anyOf": [{"type": "number"}, {"type": "string"}]}
BY_HAND = {
    "io.k8s.apimachinery.pkg.util.intstr.IntOrString": INT_OR_STRING,
    "io.k8s.apimachinery.pkg.api.resource.Quantity": QUANTITY,
}
"""Types whose OpenAPI is a plain string, because it can't say more."""


def main() -> None:
    """Write all schema files."""
    for minor, version in KUBERNETES.items():
        swagger = json.loads((module(f"k8s.io/kubernetes@{version}") / "api/openapi-spec/swagger.json").read_text())
        write(SCHEMAS / f"kubernetes-{minor}.json", kubernetes(swagger["definitions"]))
    found = [crd(module(name) / path) for name, paths in CUSTOM.items() for path in paths]
    write(SCHEMAS / "custom.json", {"kinds": dict(found), "definitions": {}})
    compose = json.loads((module(COMPOSE) / "schema/compose-spec.json").read_text())
    COMPOSE_SCHEMA.write_text(json.dumps(undescribed(compose), indent=1) + "\n")


def module(name: str) -> Path:
    """The folder of a Go module, which is downloaded if it is missing."""
    asked = subprocess.run(["go", "mod", "download", "-json", name], check=True, capture_output=True, cwd="/")
    return Path(json.loads(asked.stdout)["Dir"])


def kubernetes(definitions: dict[str, Any]) -> dict[str, Any]:
    """The kinds, and the definitions that they need."""
    kinds = {}
    for name, definition in definitions.items():
        for each in definition.get("x-kubernetes-group-version-kind", ()):
            version = "/".join(filter(None, (each["group"], each["version"])))
            if each["kind"] in KINDS.get(version, ()):
                kinds[f"{version} {each['kind']}"] = {"$ref": PREFIX + name}
    needed: dict[str, Any] = {}
    ahead = [each["$ref"].removeprefix(PREFIX) for each in kinds.values()]
    while ahead:
        name = ahead.pop()
        if name not in needed:
            needed[name] = BY_HAND.get(name) or strict(definitions[name])
            ahead += references(needed[name])
    return {"kinds": kinds, "definitions": dict(sorted(needed.items()))}


def crd(file: Path) -> tuple[str, Any]:
    """The stored version of a custom resource, named as `kubernetes` names the others."""
    spec = yaml.safe_load(file.read_text())["spec"]
    (stored,) = [version for version in spec["versions"] if version["storage"]]
    schema = strict(stored["schema"]["openAPIV3Schema"])
    schema["properties"] |= {"metadata": {"type": "object"}}
    return f"{spec['group']}/{stored['name']} {spec['names']['kind']}", schema


def strict(schema: Any) -> Any:
    """A schema without descriptions, which allows no other fields."""
    if isinstance(schema, list):
        return [strict(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if schema.get("x-kubernetes-int-or-string"):
        return INT_OR_STRING
    left_out = ("description", "default", "format", "example", "title", "status")
    kept = {
        key: (
            {name: strict(each) for name, each in value.items() if name != "status"}
            if key == "properties"
            else strict(value)
        )
        for key, value in schema.items()
        if key not in left_out and not key.startswith("x-")
    }
    if (
        "properties" in kept
        and "additionalProperties" not in kept
        and not schema.get("x-kubernetes-preserve-unknown-fields")
    ):
        kept["additionalProperties"] = False
    return kept


def undescribed(schema: Any) -> Any:
    """A schema without its texts."""
    if isinstance(schema, list):
        return [undescribed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        name: undescribed(each)
        for name, each in schema.items()
        if not (name in ("description", "title") and isinstance(each, str))
    }


def references(schema: Any) -> list[str]:
    """The names of the definitions that a schema points to."""
    if isinstance(schema, dict):
        own = [schema["$ref"].removeprefix(PREFIX)] if isinstance(schema.get("$ref"), str) else []
        return own + [name for each in schema.values() for name in references(each)]
    return [name for each in schema for name in references(each)] if isinstance(schema, list) else []


def write(file: Path, document: dict[str, Any]) -> None:
    """One line for each kind and definition, so that diffs are short."""
    parts = (f'"{part}": {{\n{lines(entries)}\n}}' for part, entries in document.items())
    file.write_text("{\n" + ",\n".join(parts) + "\n}\n")


def lines(entries: dict[str, Any]) -> str:
    """The entries of a map, one on each line."""
    return ",\n".join(f"{json.dumps(name)}: {json.dumps(entry, sort_keys=True)}" for name, entry in entries.items())


if __name__ == "__main__":
    main()
