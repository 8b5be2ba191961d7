"""What `helm test` runs in a cluster, run here against a real server."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
from support.chart import find, render_case
from support.cli import COMMAND, Cli

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.chart import Object

TOPIC, GROUP = "duebus.helm-test", "helm-test"


def container(case: str) -> Any:
    (only,) = find(render_case(case), "Pod", "-test")["spec"]["containers"]
    return only


@pytest.fixture
def address(tmp_path: Any) -> Iterator[str]:
    with Cli(directory=tmp_path).start("serve", "--listen", "127.0.0.1:0", "--json") as server:
        yield server.record()["ready"]


def run_test(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command of the pod, with this server for the Service."""
    environment = {"PATH": f"{COMMAND.parent}:{os.environ['PATH']}", "DUEBUS_SERVER": address}
    return subprocess.run(
        [*container("redis")["command"], *arguments],
        env=environment,
        text=True,
        capture_output=True,
        timeout=180,
        check=False,
    )


def test_an_event_is_dispatched_and_acked(address: str) -> None:
    ran = run_test(address)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1].startswith("received and acked helm-test-")
    assert counts(address) == {"scheduled": 0, "ready": 0, "leased": 0, "dead": 0}


def test_events_of_an_earlier_test_are_not_mistaken_for_the_new_one(address: str) -> None:
    # given: two events that were not handled
    cli = Cli(address)
    cli.ok("dispatch", TOPIC, "left over", "--count", "2")

    # when
    ran = run_test(address)

    # then: they are gone, and so is the test's own event
    assert ran.returncode == 0, ran.stderr
    assert counts(address)["ready"] == 0


def test_an_unresponsive_server_fails_the_test() -> None:
    ran = run_test("127.0.0.1:1")
    assert ran.returncode != 0
    assert "can't reach a server" in ran.stderr


@pytest.mark.parametrize(
    ("case", "flags", "mounted"),
    [
        ("redis", [], set()),
        ("tls", ["--tls-ca=/etc/duebus/ca/ca.crt"], {"/etc/duebus/ca"}),
        (
            "secured",
            [
                "--tls-ca=/etc/duebus/ca/ca.crt",
                "--tls-cert=/etc/duebus/client/tls.crt",
                "--tls-key=/etc/duebus/client/tls.key",
            ],
            {"/etc/duebus/ca", "/etc/duebus/client"},
        ),
    ],
)
def test_the_test_presents_the_credentials_that_the_server_requires(
    case: str, flags: list[str], mounted: set[str]
) -> None:
    created: Object = container(case)
    assert created["command"][4:] == flags
    assert {mount["mountPath"] for mount in created.get("volumeMounts", [])} == mounted
    assert ("DUEBUS_TOKEN" in {each["name"] for each in created["env"]}) == (case == "secured")


def counts(address: str) -> Any:
    """The events of the test's group by state."""
    (group,) = Cli(address).ok("topic", TOPIC, "--json").record["groups"]
    assert group["group"] == GROUP
    return {state: group[state] for state in ("scheduled", "ready", "leased", "dead")}
