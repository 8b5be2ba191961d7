"""Values that can't work are refused when the chart is rendered, with a line that names them."""

from __future__ import annotations

import re

import pytest
import yaml
from support.chart import CHART, RenderError, Values, overlaid, render, values_of

REDIS = values_of("redis")
SECURED = values_of("secured")

REFUSED: dict[str, tuple[Values, str]] = {
    "no redis": ({}, "redis.url: is required"),
    "two local": ({"engines": ["local"], "replicaCount": 2}, "replicaCount: the local engine runs in a single pod"),
    "two of both": ({**REDIS, "engines": ["redis", "local"], "replicaCount": 2}, "replicaCount: the local engine"),
    "scaled local": ({"engines": ["local"], "autoscaling": {"enabled": True}}, "autoscaling.enabled: the local engine"),
    "several processes of local": (
        {"engines": ["local"], "processes": 2},
        "processes: the local engine runs in a single process",
    ),
    "more than a core of a process": (
        overlaid(REDIS, {"autoscaling": {"enabled": True, "targetCPU": "1.5"}, "processes": 4}),
        "autoscaling.targetCPU: a process uses one core at most, so 1.5 would not be exceeded",
    ),
    "more than the cores of the processes": (
        overlaid(
            REDIS,
            {
                "autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 60},
                "processes": 2,
                "resources": {"requests": {"cpu": 4}},
            },
        ),
        "autoscaling.targetCPUUtilizationPercentage: processes use one core each at most, so 60 %",
    ),
    "a share of no request": (
        overlaid(
            REDIS,
            {
                "autoscaling": {"enabled": True, "targetCPUUtilizationPercentage": 60},
                "resources": {"requests": {"cpu": None}},
            },
        ),
        "autoscaling.targetCPUUtilizationPercentage: is a share of resources.requests.cpu, which is not set",
    ),
    "redis twice": (
        overlaid(REDIS, values_of("bundled-redis")),
        "redis.bundled.enabled: a URL of another Redis is also set",
    ),
    "bundled for local": (
        {"engines": ["local"], "redis": {"bundled": {"enabled": True}}},
        "redis.bundled.enabled: engines does not include redis",
    ),
    "password in the open": (
        {"redis": {"url": "redis://duebus:secret@redis:6379/0"}},
        "redis.url: has a password, which would be readable in the ConfigMap",
    ),
    "password of sentinels in the open": (
        {"redis": {"url": "redis+sentinel://a.example:26379/main?sentinel_username=a&sentinel_password=secret"}},
        "redis.url: has a password, which would be readable in the ConfigMap",
    ),
    "password in an encoded option": (
        {"redis": {"url": "redis+sentinel://a.example:26379/main?sentinel%5Fpassword=secret"}},
        "redis.url: has a password, which would be readable in the ConfigMap",
    ),
    "password from a template": (
        {"redis": {"url": '{{ printf "redis://:%s@redis:6379" "secret" }}'}},
        "redis.url: has a password, which would be readable in the ConfigMap",
    ),
    "more events than the volume holds": (
        {"engines": ["local"], "settings": {"maxQueuedBytes": "16GiB"}},
        "persistence.size: 8Gi has room for 2828358997 bytes of events, and settings.maxQueuedBytes is 16GiB",
    ),
    "unlimited events on a volume": (
        {"engines": ["local"], "settings": {"maxQueuedBytes": "0B"}},
        "persistence.size: 8Gi has room for 2828358997 bytes of events, and settings.maxQueuedBytes is unlimited",
    ),
    "a volume without room": (
        {"engines": ["local"], "persistence": {"size": "100Mi"}},
        "persistence.size: 100Mi has room for 0 bytes of events",
    ),
    "no target to scale by": (
        overlaid(REDIS, {"autoscaling": {"enabled": True, "targetCPU": None}}),
        "autoscaling: has no target",
    ),
    "two monitors": (
        overlaid(values_of("service-monitor"), {"metrics": {"podMonitor": {"enabled": True}}}),
        "metrics.podMonitor.enabled: the ServiceMonitor scrapes the same pods",
    ),
    "an unknown object": (
        overlaid(REDIS, {"overrides": {"StatefulSet": {"spec": {}}}}),
        "overrides: there is no object StatefulSet",
    ),
    "left out by itself": (overlaid(REDIS, {"enabled": False}), "/enabled"),
    "url twice": (overlaid(values_of("redis-url-secret"), REDIS), "redis.url: is also set in redis.existingSecret"),
    "url key without a secret": ({"redis": {"existingSecret": {"urlKey": "url"}}}, "redis.url: is required"),
    "bundled with TLS": (
        overlaid(values_of("bundled-redis"), {"redis": {"tls": {"existingSecret": "a"}}}),
        "redis.tls.existingSecret: the bundled Redis has no TLS",
    ),
    "TLS for a plain url": (
        overlaid(REDIS, {"redis": {"tls": {"existingSecret": "a"}}}),
        "redis.tls.existingSecret: redis.url does not use TLS",
    ),
    "certificate without a secret": (
        overlaid(REDIS, {"redis": {"tls": {"clientCertificate": True}}}),
        "redis.tls.existingSecret: is required with clientCertificate",
    ),
    "TLS without a certificate": (
        overlaid(REDIS, {"tls": {"enabled": True}}),
        "tls.existingSecret: is required for TLS",
    ),
    "a certificate without TLS": (
        overlaid(REDIS, {"tls": {"existingSecret": "a"}}),
        "tls.enabled: certificates are set",
    ),
    "client CA without TLS": (
        overlaid(REDIS, {"tls": {"clientCA": {"existingSecret": "a"}}}),
        "tls.enabled: certificates are set",
    ),
    "keys twice": (
        overlaid(values_of("jwt-url"), {"auth": {"jwt": {"existingConfigMap": "a"}}}),
        "auth.jwt.jwksUrl: a ConfigMap with keys is also set",
    ),
    "keys without an audience": (
        overlaid(REDIS, {"auth": {"jwt": {"existingConfigMap": "a"}}}),
        "auth.jwt.audience: is required with keys",
    ),
    "issuer without keys": (overlaid(REDIS, {"auth": {"jwt": {"issuer": "a"}}}), "auth.jwt.jwksUrl: is required"),
    "rules twice": (
        overlaid(SECURED, {"auth": {"acl": {"existingConfigMap": "a"}}}),
        "auth.acl.rules: a ConfigMap with rules is also set",
    ),
    "rules without identities": (overlaid(REDIS, {"auth": {"acl": {"rules": "a"}}}), "auth.acl: requires tokens"),
    "minimum over maximum": (
        overlaid(REDIS, {"autoscaling": {"enabled": True, "minReplicas": 9}}),
        "autoscaling.minReplicas: is more than maxReplicas",
    ),
    "two budgets": (
        overlaid(REDIS, {"podDisruptionBudget": {"minAvailable": 1}}),
        "podDisruptionBudget: set minAvailable or",
    ),
    "no budget": (
        overlaid(REDIS, {"podDisruptionBudget": {"maxUnavailable": None}}),
        "podDisruptionBudget: set minAvailable or",
    ),
    "no time to drain": (
        overlaid(REDIS, {"terminationGracePeriodSeconds": 44}),
        "terminationGracePeriodSeconds: the drain needs 45 s",
    ),
    "KEDA without a certificate": (
        overlaid(values_of("keda-options"), {"keda": {"tls": {"clientCertificate": False}}}),
        "keda.tls: the server requires client certificates",
    ),
    "KEDA without an identity": (
        overlaid(values_of("keda"), {"auth": {"tokens": {"existingSecret": "a"}}}),
        "keda.scaledObjects: KEDA can't send tokens",
    ),
    "metrics without a port": (
        overlaid(values_of("service-monitor"), {"http": {"enabled": False}}),
        "metrics.serviceMonitor.enabled: requires the HTTP port",
    ),
    "an unknown alert": (
        overlaid(REDIS, {"metrics": {"prometheusRule": {"disabledAlerts": ["DueBusTypo"]}}}),
        "metrics.prometheusRule.disabledAlerts: there is no alert DueBusTypo",
    ),
    "a route without a gateway": (
        overlaid(REDIS, {"grpcRoute": {"enabled": True}}),
        "grpcRoute.parentRefs: a Gateway is required",
    ),
    "an ingress without hosts": (overlaid(REDIS, {"ingress": {"enabled": True}}), "ingress.hosts: at least one host"),
    "a node port of a cluster IP": (overlaid(REDIS, {"service": {"nodePort": 30000}}), "service.type: nodePort"),
    "a port twice": (
        overlaid(REDIS, {"http": {"port": 50051}}),
        "http.port: 50051 is taken by the gRPC or the health port",
    ),
    "the port of metrics for the web": (
        overlaid(REDIS, {"web": {"enabled": True, "port": 9090}}),
        "web.port: 9090 is taken by another port",
    ),
    "a web ingress without a web": (
        overlaid(REDIS, {"web": {"ingress": {"enabled": True, "hosts": ["a.example"]}}}),
        "web.ingress.enabled: requires web.enabled",
    ),
    "a web ingress without hosts": (
        overlaid(REDIS, {"web": {"enabled": True, "ingress": {"enabled": True}}}),
        "web.ingress.hosts: at least one host",
    ),
    # what values.schema.json says
    "an unknown value": (overlaid(REDIS, {"replicas": 3}), "additional properties 'replicas' not allowed"),
    "an unknown value below": (overlaid(REDIS, {"tls": {"secret": "a"}}), "additional properties 'secret' not allowed"),
    "an unknown engine": ({"engines": ["kafka"]}, "/engines/0"),
    "no engine": ({"engines": []}, "/engines"),
    "a bare number": (overlaid(REDIS, {"settings": {"lease": 30}}), "/settings/lease"),
    "no log level": (overlaid(REDIS, {"settings": {"logLevel": "verbose"}}), "/settings/logLevel"),
    "no process": (overlaid(REDIS, {"processes": 0}), "/processes"),
    "too many processes": (overlaid(REDIS, {"processes": 65}), "/processes"),
    "no path": (overlaid(REDIS, {"settings": {"auditLog": "audit.log"}}), "/settings/auditLog"),
    "no duration": (overlaid(REDIS, {"settings": {"lease": "30 seconds"}}), "/settings/lease"),
    "no url": ({"redis": {"url": "redis.example:6379"}}, "/redis/url"),
    "no digest": (overlaid(REDIS, {"image": {"digest": "sha256:12"}}), "/image/digest"),
    "no port": (overlaid(REDIS, {"service": {"port": 70000}}), "/service/port"),
    "no label": (overlaid(REDIS, {"commonLabels": {"team": "a b"}}), "/commonLabels/team"),
    "no uri": (overlaid(REDIS, {"auth": {"jwt": {"jwksUrl": "issuer"}}}), "/auth/jwt/jwksUrl"),
    "no topic": (
        overlaid(REDIS, {"keda": {"scaledObjects": [{"name": "a", "scaleTargetRef": {"name": "a"}, "topic": "-"}]}}),
        "/keda/scaledObjects/0/topic",
    ),
    "no quantity": (overlaid(REDIS, {"resources": {"limits": {"memory": "lots"}}}), "/resources/limits/memory"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_combinations_are_refused_with_a_line_that_names_the_value(case: str) -> None:
    values, reason = REFUSED[case]
    with pytest.raises(RenderError) as refused:
        render(values)
    assert re.search(rf"^(duebus: |- ).*{re.escape(reason)}", str(refused.value), re.MULTILINE), refused.value


def test_every_map_of_the_schema_is_closed_but_for_pieces_of_kubernetes() -> None:
    # given: every path of the values that is a map
    for path in maps(yaml.safe_load((CHART / "values.yaml").read_text())):
        if path[0] in OPEN or path in OPEN:
            continue

        # when: there is an unknown key in it
        values: Values = {"unknown key": 1}
        for step in reversed(path):
            values = {step: values}

        # then
        with pytest.raises(RenderError):
            render(overlaid(REDIS, values))


OPEN = {
    "global", "commonLabels", "commonAnnotations", "overrides", "podSecurityContext", "securityContext", "affinity",
    "dnsConfig", "lifecycle", ("autoscaling", "behavior", "scaleDown"), ("redis", "bundled", "affinity"),
}  # fmt: skip


def maps(values: Values, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """The paths of all maps."""
    found = []
    for key, value in values.items():
        if isinstance(value, dict):
            found += [(*above, key), *maps(value, (*above, key))]
    return found
