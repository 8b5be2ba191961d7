"""The image as Docker builds and runs it. `make image-test` runs this, with a Docker engine or as root."""

from __future__ import annotations

import asyncio
import json
import re
import shlex
import subprocess
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest
from duebus import Client, Worker
from support.docker import RESTRICTED, TIMEOUT_S, Container, base_image
from support.documents import ROOT
from support.image import IMAGE_USER
from support.versions import version
from support.workers import serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duebus import Delivery
    from support.docker import Docker

pytestmark = pytest.mark.timeout(2 * TIMEOUT_S)

ADDED_MIB = 100
"""What the image may add to its base."""


@pytest.fixture
def volume(docker: Docker) -> Iterator[str]:
    """A new volume, for events."""
    name = docker("volume", "create")
    yield name
    docker("volume", "rm", "--force", name)


@pytest.fixture
def start(docker: Docker, image: str) -> Iterator[Callable[..., Container]]:
    """Starts containers that are ready. They are removed after the test."""
    started: list[Container] = []

    def start(*command: str, options: tuple[str, ...] = RESTRICTED) -> Container:
        container = Container(docker, *options, image, *command)
        started.append(container)
        container.wait_logged("duebus ready on")
        return container

    yield start
    for each in started:
        each.remove()


def documented_run(volume: str) -> tuple[tuple[str, ...], list[str]]:
    """The options and the command of the container in docs/one-machine.md, but with this volume, and on a free port."""
    (shown,) = re.findall(r"^docker run ((?:.*\\\n)+.*)$", (ROOT / "docs/one-machine.md").read_text(), re.MULTILINE)
    changed = shown.replace(" --name duebus", "").replace("127.0.0.1:50051:", "127.0.0.1::")
    words = shlex.split(changed.replace(" duebus:/", f" {volume}:/").replace("\\\n", ""))
    image = words.index(f"duebus:{version()}")
    return tuple(words[:image]), words[image + 1 :]


def inspected(docker: Docker, image: str) -> dict[str, Any]:
    (found,) = json.loads(docker("image", "inspect", image))
    return dict(found)


def test_it_adds_little_to_its_base(docker: Docker, image: str) -> None:
    base, built = inspected(docker, base_image(docker)), inspected(docker, image)
    added = (built["Size"] - base["Size"]) / 2**20
    layers = len(built["RootFS"]["Layers"]) - len(base["RootFS"]["Layers"])
    print(f"{built['Size'] / 2**20:.0f} MiB, of which {added:.0f} in {layers} layers on the base")  # noqa: T201
    assert 0 < added < ADDED_MIB
    assert layers <= 3


def test_its_labels_say_what_it_is(docker: Docker, image: str) -> None:
    labels = inspected(docker, image)["Config"]["Labels"]
    of = {name.removeprefix("org.opencontainers.image."): value for name, value in labels.items()}
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, text=True, capture_output=True, check=True)
    assert (of["title"], of["version"], of["revision"]) == ("DueBus", version(), head.stdout.strip())
    assert datetime.fromisoformat(of["created"]) < datetime.now(UTC)


def test_it_tells_its_version(docker: Docker, image: str) -> None:
    assert docker("run", "--rm", image, "--version") == f"duebus {version()}"


def test_it_needs_neither_rights_nor_a_disk_nor_a_shell(start: Callable[..., Container]) -> None:
    # given: no program but Python
    container = start(options=(*RESTRICTED, "--tmpfs=/usr/bin", "--tmpfs=/usr/sbin"))

    # then
    status = container.execute("python", "-c", "print(open('/proc/1/status').read())")
    assert re.search(r"^Uid:(.*)$", status, re.MULTILINE)[1].split() == [str(IMAGE_USER)] * 4  # type: ignore[index]
    assert re.findall(r"^Cap(?:Prm|Eff|Bnd):\t(.*)$", status, re.MULTILINE) == ["0" * 16] * 3
    with Client(container.address) as bus:
        assert bus.dispatch("orders", 1).event_id
    container.wait_healthy()


def test_it_becomes_healthy(start: Callable[..., Container]) -> None:
    start().wait_healthy()


def test_it_has_no_pip(docker: Docker, start: Callable[..., Container]) -> None:
    container = start()
    found = docker.attempt("exec", container.id, "python", "-m", "pip", "--version")
    assert "No module named pip" in found.stderr
    script = "import glob; print(glob.glob('/usr/local/bin/pip*') + glob.glob('/opt/duebus/bin/pip*'))"
    assert container.execute("python", "-c", script) == "[]"


async def test_a_worker_handles_what_is_dispatched_through_the_published_port(start: Callable[..., Container]) -> None:
    container = await asyncio.to_thread(start)
    handled: asyncio.Queue[Any] = asyncio.Queue()
    worker = Worker(container.address)
    worker.on("orders")(async_handler(handled))
    async with serving(worker):
        with Client(container.address) as bus:
            await asyncio.to_thread(bus.dispatch, "orders", {"id": 42})
        assert await asyncio.wait_for(handled.get(), 30) == {"id": 42}


def async_handler(handled: asyncio.Queue[Any]) -> Callable[[Delivery], Any]:
    async def handle(delivery: Delivery) -> None:
        handled.put_nowait(delivery.json())

    return handle


def test_events_on_a_volume_survive_a_kill(volume: str, start: Callable[..., Container]) -> None:
    # given
    options, command = documented_run(volume)
    first = start(*command, options=options)
    with Client(first.address) as bus:
        event_id = bus.dispatch("orders", {"id": 42}).event_id

    # when
    first.kill()
    second = start(*command, options=options)

    # then
    with Client(second.address) as bus:
        assert bus.admin.get_event("orders", event_id).event_id == event_id


async def test_a_stopped_container_lets_handlers_finish_and_ends_with_0(
    volume: str, start: Callable[..., Container]
) -> None:
    # given: a handler that is running
    options, command = documented_run(volume)
    container = await asyncio.to_thread(start, *command, options=options)
    begun, finish = asyncio.Event(), asyncio.Event()
    worker = Worker(container.address)

    @worker.on("orders")
    async def handle(_: Delivery) -> None:
        begun.set()
        await finish.wait()

    async with serving(worker):
        with Client(container.address) as bus:
            await asyncio.to_thread(bus.dispatch, "orders", 1)
        await asyncio.wait_for(begun.wait(), 30)

        # when: it is stopped, and the handler returns once it drains
        stopping = asyncio.create_task(asyncio.to_thread(container.stop))
        await asyncio.to_thread(container.wait_logged, "draining")
        finish.set()

        # then
        assert await asyncio.wait_for(stopping, 60) == 0
    again = await asyncio.to_thread(start, *command, options=options)
    with Client(again.address) as bus:
        (group,) = bus.admin.get_topic("orders").groups
        assert (group.ready, group.leased, group.scheduled) == (0, 0, 0)
