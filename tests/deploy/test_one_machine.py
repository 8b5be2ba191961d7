"""What docs/one-machine.md installs: the file for Docker Compose, the unit of systemd, and the settings."""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.request import urlopen

import pytest
import yaml
from duebus import Client
from duebus_server.config import load_settings
from jsonschema import Draft202012Validator
from support.documents import ROOT, blocks
from support.image import IMAGE_USER
from support.redis_server import RedisServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.server_process import ServerProcess

COMPOSE = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())
UNIT = ROOT / "deploy/duebus.service"
SCHEMA = Path(__file__).parent / "compose-spec.json"
DRAIN_AND_REST_S = 40
MOST_EXPOSED = 15
"""In tenths; systemd calls up to 2.0 OK, and a unit without restrictions 9.6."""


# --- compose ----------------------------------------------------------------------------------------------------------


def test_compose_accepts_the_file() -> None:
    assert problems(COMPOSE) == []


@pytest.mark.parametrize(
    ("service", "name", "value"),
    [("server", "restarts", "always"), ("redis", "volumes", "redis:/data"), ("server", "depends_on", {"redis": True})],
)
def test_the_schema_refuses_what_compose_refuses(service: str, name: str, value: Any) -> None:
    changed = {**COMPOSE, "services": {**COMPOSE["services"], service: {**COMPOSE["services"][service], name: value}}}
    assert problems(changed) != []


def test_every_name_in_the_file_is_defined() -> None:
    for service in COMPOSE["services"].values():
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        assert {volume.partition(":")[0] for volume in service.get("volumes", ())} <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", ())) <= set(COMPOSE["services"])


def test_only_this_machine_connects_and_only_the_server_reaches_redis() -> None:
    server, redis = COMPOSE["services"]["server"], COMPOSE["services"]["redis"]
    assert all(port.startswith("127.0.0.1:") for port in server["ports"])
    assert "ports" not in redis
    assert [network for network in redis["networks"] if not COMPOSE["networks"][network].get("internal")] == []


def test_a_container_can_do_little_and_has_time_to_drain() -> None:
    for service in COMPOSE["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert service.get("user", str(IMAGE_USER)) not in ("root", "0")
    assert int(COMPOSE["services"]["server"]["stop_grace_period"].removesuffix("s")) > DRAIN_AND_REST_S


def test_its_images_are_those_of_the_chart() -> None:
    values = yaml.safe_load((ROOT / "helm/duebus/values.yaml").read_text())
    image = values["redis"]["bundled"]["image"]
    assert COMPOSE["services"]["redis"]["image"] == f"{image['registry']}/{image['repository']}:{image['tag']}"
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert COMPOSE["services"]["server"]["image"] == f"{values['image']['repository']}:{version}"


def test_its_commands_make_a_bus_with_a_dashboard(start_server: Callable[..., ServerProcess]) -> None:
    # given: Redis with the flags of the file
    program, *flags = COMPOSE["services"]["redis"]["command"]
    assert program == "redis-server"
    redis = RedisServer(*flags)
    try:
        # when: a server has its flags, but for the addresses
        program, *flags = COMPOSE["services"]["server"]["command"]
        assert program == "serve"
        url = redis.url.removesuffix("/0")
        moved = [each.replace("redis://redis:6379", url).replace("0.0.0.0:8080", "127.0.0.1:0") for each in flags]
        server = start_server(*moved)

        # then
        with Client(server.address) as bus:
            assert bus.dispatch("orders", 1).event_id
        with urlopen(str(server.web), timeout=120) as page:  # noqa: S310  # it is the one of the ready line
            assert b"<title>" in page.read()
    finally:
        redis.close()


def problems(file: Any) -> list[str]:
    """What is wrong with a file, by the schema of Compose."""
    return [error.message for error in Draft202012Validator(json.loads(SCHEMA.read_text())).iter_errors(file)]


# --- systemd ----------------------------------------------------------------------------------------------------------


def unit() -> dict[str, dict[str, list[str]]]:
    """The unit's settings by section; each may be there several times."""
    found: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    section = ""
    for line in UNIT.read_text().splitlines():
        if line.startswith("["):
            section = line.strip("[]")
        elif line and not line.startswith("#"):
            name, separator, value = line.partition("=")
            assert separator, line
            found[section][name].append(value)
    return found


def test_the_unit_starts_the_server_and_gives_it_time_to_drain() -> None:
    service = unit()["Service"]
    (start,) = service["ExecStart"]
    program, command, *flags = shlex.split(start)
    assert (Path(program).name, command, flags) == ("duebus", "serve", ["--config", "/etc/duebus/duebus.toml"])
    assert int(service["TimeoutStopSec"][0].removesuffix("s")) > DRAIN_AND_REST_S
    assert service["StateDirectory"] == ["duebus"]


def test_the_settings_on_the_page_are_valid_and_keep_events_where_the_unit_may_write(tmp_path: Path) -> None:
    (shown,) = blocks((ROOT / "docs/one-machine.md").read_text(), "toml")
    file = tmp_path / "duebus.toml"
    file.write_text(shown)
    settings = load_settings({"config": str(file)})
    assert Path("/var/lib/duebus") in (settings.data_dir or Path()).parents


def test_systemd_accepts_the_unit_and_finds_it_little_exposed(tmp_path: Path) -> None:
    # given: the unit with a program that exists; where systemd is not installed, its settings at least
    service = unit()["Service"]
    assert {"NoNewPrivileges", "DynamicUser", "ProtectSystem", "SystemCallFilter"} <= service.keys()
    program = shutil.which("systemd-analyze")
    if program is None:
        return
    copy = tmp_path / "duebus.service"
    copy.write_text(UNIT.read_text().replace("/opt/duebus/bin/duebus", sys.executable))

    # when
    verified = subprocess.run([program, "verify", copy], text=True, capture_output=True, check=False)
    rated = subprocess.run(
        [program, "security", "--offline=yes", f"--threshold={MOST_EXPOSED}", "--no-pager", copy],
        text=True,
        capture_output=True,
        check=False,
    )

    # then
    assert (verified.returncode, [line for line in verified.stderr.splitlines() if "duebus.service" in line]) == (0, [])
    assert rated.returncode == 0, rated.stdout + rated.stderr
