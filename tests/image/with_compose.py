"""What docs/one-machine.md says of Docker Compose, done. `make image-test` runs this, as it runs in_docker.py."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.request import urlopen

import pytest
import yaml
from duebus import Client, Worker, aio
from support.docker import KNOWS_START_INTERVAL, PYTHON, TIMEOUT_S, base_image, pulled_or_built, wait_logged
from support.documents import ROOT, blocks, table
from support.redis_server import free_port
from support.workers import serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from duebus import Delivery
    from support.docker import Docker

pytestmark = pytest.mark.timeout(TIMEOUT_S)

PAGE = (ROOT / "docs/one-machine.md").read_text()
COMPOSE = "docker compose --file deploy/compose.yaml"
REDIS = yaml.safe_load((ROOT / "deploy/compose.yaml").read_text())["services"]["redis"]["image"]

# As the official one, which needs no password either.
REDIS_STEPS = """\
RUN apt-get update -q && apt-get install -qy --no-install-recommends redis-server && mkdir /data && chown redis /data
VOLUME /data
WORKDIR /data
ENTRYPOINT ["sh", "-c", "exec \\"$@\\" --protected-mode no", "--"]
"""


class Machine:
    """The services of deploy/compose.yaml as a project of their own, on free ports.

    Attributes:
        bus: where it listens.
        dashboard: where it listens.
    """

    def __init__(self, docker: Docker, image: str, folder: Path) -> None:
        self.bus, self.dashboard = (f"127.0.0.1:{free_port()}" for _ in range(2))
        own_base = base_image(docker) == PYTHON
        build = f"{{args: {{PYTHON_IMAGE: {PYTHON}}}, network: host}}" if own_base else ".."
        self._override = folder / "override.yaml"
        self._override.write_text(f"""\
services:
  server:
    image: {image}
    build: {build}
    ports: !override ["{self.bus}:50051", "{self.dashboard}:8080"]
""")
        # What is built on a base image that no registry has is built without BuildKit, which would ask one.
        builder = {"DOCKER_BUILDKIT": "0"} if own_base else {}
        self._environment = {**docker.environment, **builder, "COMPOSE_PROJECT_NAME": "duebus-test"}
        self._backup = folder / "backup.rdb"

    def run(self, command: str) -> str:
        """What a command of the page prints.

        Raises:
            AssertionError: it fails; with what it said.
        """
        command = command.replace(COMPOSE, f"{COMPOSE} --file {self._override}").replace(
            "backup.rdb", str(self._backup)
        )
        done = subprocess.run(
            ["sh", "-ec", command],
            cwd=ROOT, env=self._environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}: {done.stdout[-8000:]}{done.stderr[-8000:]}"
        return done.stdout


def documented(purpose: str) -> str:
    """The command that the page has for a purpose."""
    (command,) = [command.strip("`") for to, command in table(PAGE[PAGE.index("| to |") :]) if to.startswith(purpose)]
    return f"{COMPOSE} {command}"


INSTALL, RESTORE = [block for block in blocks(PAGE, "") if block.startswith(COMPOSE)]


@pytest.fixture(scope="module")
def machine(docker: Docker, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    if "CI" not in os.environ and (
        docker.version() < KNOWS_START_INTERVAL or docker.attempt("compose", "version").returncode != 0
    ):
        pytest.skip("needs Docker Engine 25 or newer, with Compose")
    folder = tmp_path_factory.mktemp("compose")
    with pulled_or_built(docker, REDIS, REDIS_STEPS, folder):
        machine = Machine(docker, image, folder)
        machine.run(INSTALL)
        try:
            yield machine
        finally:
            machine.run(f"{COMPOSE} down --volumes")


def test_the_bus_and_the_dashboard_serve_and_commands_run(machine: Machine) -> None:
    with Client(machine.bus) as bus:
        assert bus.dispatch("orders", 1).event_id
    with urlopen(f"http://{machine.dashboard}", timeout=30) as page:
        assert b"<title>" in page.read()
    assert re.search(r"^orders ", machine.run(documented("run a command")), re.MULTILINE)
    assert "duebus ready on" in machine.run(documented("read the log"))


async def test_a_handler_finishes_when_it_goes_down_and_an_event_waits_for_the_worker_when_it_comes_up(
    docker: Docker, machine: Machine
) -> None:
    # given: a handler that is running, and an event that is due later
    server = machine.run(f"{COMPOSE} ps --quiet server").strip()
    begun, finish = asyncio.Queue[str](), asyncio.Event()
    worker = Worker(machine.bus)

    @worker.on("slow")
    async def handle(delivery: Delivery) -> None:
        begun.put_nowait(delivery.event_id)
        await finish.wait()

    async with serving(worker), aio.Client(machine.bus) as bus:
        now = await bus.dispatch("slow", 1)
        later = await bus.dispatch("slow", 2, delay=timedelta(hours=1))
        assert await begun.get() == now.event_id

        # when: it goes down, and the handler returns once the server drains
        down = asyncio.create_task(asyncio.to_thread(machine.run, documented("drain the server")))
        await asyncio.to_thread(wait_logged, docker, server, "draining")
        finish.set()
        await down
        await asyncio.to_thread(machine.run, documented("update"))

        # then
        await bus.admin.reschedule("slow", later.event_id, delay=timedelta(0))
        assert await begun.get() == later.event_id


def test_a_backup_is_restored(machine: Machine) -> None:
    with Client(machine.bus) as bus:
        # given
        kept = bus.dispatch("before", 1).event_id
        machine.run(documented("back up"))
        bus.dispatch("after", 1)

        # when
        machine.run(RESTORE)

        # then
        assert bus.admin.get_event("before", kept).event_id == kept
        assert "after" not in {each.topic for each in bus.admin.list_topics()}
