"""The example projects: real servers, real requests, and kill -9 between a commit and what follows from it."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import pytest
from duebus import Client
from support.cli import Running, environment
from support.documents import ROOT, blocks, section
from support.redis_server import free_port
from support.wire import SIGNAL_TIMEOUT_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.server_process import ServerProcess

DJANGO = ROOT / "clients" / "python" / "examples" / "django_shop"
FASTAPI = ROOT / "clients" / "python" / "examples" / "fastapi_shop"
ADDRESS = "127.0.0.1:50051"
START_TIMEOUT_S = 120


class Site:
    """A web application in a process of its own."""

    def __init__(self, running: Running, port: int) -> None:
        self.process = running.process
        self._url = f"http://127.0.0.1:{port}"

    def get(self, path: str) -> Any:
        """The JSON at a path."""
        return self._read(self._url + path)

    def post(self, path: str, body: Any) -> Any:
        """Post JSON."""
        return self._read(Request(self._url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}))  # noqa: S310

    def until_it_answers(self, path: str) -> None:
        """Wait until it listens. It polls: a server of Django says that it listens before it does."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                self.get(path)
            except URLError:
                assert time.monotonic() < deadline
                assert self.process.poll() is None, self.process.communicate()
                time.sleep(0.05)
            else:
                return

    def until(self, path: str, reached: Callable[[Any], bool]) -> None:
        """Wait until what is at a path is as expected."""
        deadline = time.monotonic() + START_TIMEOUT_S
        while not reached(found := self.get(path)):
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def kill(self) -> None:
        """As kill -9 does."""
        self.process.kill()
        self.process.wait()

    def _read(self, request: str | Request) -> Any:
        with urlopen(request, timeout=SIGNAL_TIMEOUT_S) as answer:  # noqa: S310 - of the test's own server
            return json.load(answer)


class Project:
    """An example, with a database in a directory of its own."""

    def __init__(self, directory: Path, database: str, server: str) -> None:
        self._directory = directory
        self._env = environment(SHOP_DATABASE=database, DUEBUS_SERVER=server, PYTHONDONTWRITEBYTECODE="1")

    def start(self, *command: str) -> Running:
        """Start Python in the project's directory."""
        pipe = subprocess.PIPE
        arguments = [sys.executable, *command]
        return Running(
            subprocess.Popen(arguments, cwd=self._directory, env=self._env, stdout=pipe, stderr=pipe, text=True)
        )

    def run(self, *command: str) -> None:
        """Run Python to its end."""
        with self.start(*command) as running:
            result = running.result()
        assert result.status == 0, result

    @contextmanager
    def site(self, *command: str) -> Iterator[Site]:
        """Run its web server."""
        port = free_port()
        with self.start(*(each.replace("PORT", str(port)) for each in command)) as running:
            site = Site(running, port)
            site.until_it_answers("/orders")
            yield site


RUNSERVER = ("manage.py", "runserver", "--noreload", "127.0.0.1:PORT")
UVICORN = ("-m", "uvicorn", "main:app", "--port", "PORT")


@pytest.fixture
def own(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server for this test alone, because the projects name their topics."""
    return start_server()


def test_the_django_shop_survives_kill_9(own: ServerProcess, tmp_path: Path) -> None:
    project = Project(DJANGO, str(tmp_path / "shop.sqlite3"), own.address)
    project.run("manage.py", "migrate")
    project.run("manage.py", "makemigrations", "--check", "--dry-run")
    with project.site(*RUNSERVER) as site:
        placed = site.post("/orders", {"item": "ink"})
        site.kill()  # it is committed, and nobody has sent anything

    with Client(own.address, timeout=10) as client, project.start("manage.py", "duebus_relay") as relay:
        relay.wait_for("Ctrl-C ends")
        with client.subscribe("order.placed", group="billing") as billing:
            delivery = next(iter(billing))
            assert (delivery.json(), delivery.key) == ({"id": placed["id"], "item": "ink"}, f"order-{placed['id']}")
            client.ack(delivery)
        relay.process.kill()

    with project.site(*RUNSERVER) as site:
        assert site.get(f"/receipts/{placed['receipt']}") == {"status": "READY"}
        with project.start("manage.py", "duebus_worker", "--relay") as worker:
            worker.wait_for("Ctrl-C drains")
            site.until(f"/receipts/{placed['receipt']}", lambda found: bool(found["status"] == "SUCCESSFUL"))
            assert site.get("/orders") == {"orders": [{"id": placed["id"], "item": "ink", "receipt_sent": True}]}
            worker.process.kill()
        again = site.post("/orders", {"item": "pen"})
        with project.start("manage.py", "duebus_worker", "--relay") as worker:
            worker.wait_for("Ctrl-C drains")
            site.until(f"/receipts/{again['receipt']}", lambda found: bool(found["status"] == "SUCCESSFUL"))
            assert worker.end().status == 0


def test_the_fastapi_shop_survives_kill_9(start_server: Callable[..., ServerProcess], tmp_path: Path) -> None:
    address = f"127.0.0.1:{free_port()}"
    project = Project(FASTAPI, f"sqlite:///{tmp_path}/shop.sqlite3", address)
    with project.site(*UVICORN) as site:  # there is no server yet
        assert site.post("/orders", {"item": "ink"}) == {"id": 1}
        site.kill()

    start_server("--listen", address)
    with project.site(*UVICORN) as site:
        site.until("/orders", lambda orders: bool(orders[0]["receipts"]))
        assert site.post("/orders", {"item": "pen"}) == {"id": 2}
        site.kill()
    with project.site(*UVICORN) as site, Client(address, timeout=10) as client:
        site.until("/orders", lambda orders: all(each["receipts"] for each in orders))
        hint = site.post("/hints", {})["event"]
        assert client.admin.get_event("hint.asked", hint).event_id == hint
        assert [each["receipts"] for each in site.get("/orders")] == [1, 1]
        site.process.terminate()
        assert site.process.wait(SIGNAL_TIMEOUT_S) in (0, -15)  # by version, uvicorn ends with the signal
        assert client.admin.get_topic("order.received").queued == 0


# --- the guide ---


def shown(heading: str, language: str = "python") -> list[str]:
    return blocks(section(ROOT / "docs" / "frameworks.md", heading), language)


def test_a_new_django_project_begins_with_the_guide(own: ServerProcess, tmp_path: Path) -> None:
    settings, *files = shown("Django")
    paths = ["shop/models.py", "shop/tasks.py", "shop/views.py", "config/urls.py", "shop/handlers.py"]
    making, running, working, billing = (block.splitlines() for block in shown("Django", ""))
    project = Project(tmp_path, "", own.address)
    project.run("-m", "django", *making[-2].split()[1:])
    project.run(*making[-1].split()[1:])
    with (tmp_path / "config/settings.py").open("a") as file:
        file.write(settings.replace(ADDRESS, own.address))
    for path, text in zip(paths, files, strict=True):
        (tmp_path / path).write_text(text)
    for command in running[:2]:
        project.run(*command.split()[1:])
    with project.site(*running[2].split()[1:], "--noreload", "127.0.0.1:PORT") as site:
        site.post("/orders", {"item": "ink"})
        site.kill()
    with project.start(*working[0].split()[1:]) as worker, project.site(*RUNSERVER) as site:
        worker.wait_for("Ctrl-C drains")
        site.until("/orders", lambda found: bool(found["orders"][0]["receipt_sent"]))
    with Client(own.address, timeout=10) as client:
        (event,) = client.admin.list_events("order.placed", "ready")
        assert event.json() == {"id": 1, "item": "ink"}
        with project.start(*billing[0].split()[1:]), client.subscribe("order.billed", group="books") as books:
            (first,) = islice(books, 1)
            assert first.json() == {"id": 1, "cents": 990}
            client.dispatch_many("order.placed", [{"id": number} for number in range(2, 102)])  # handled at once
            billed = set[int]()
            for each in islice(books, 100):
                billed.add(each.json()["id"])
                client.ack(each)
            assert billed == set(range(2, 102))
        assert not list(client.admin.list_events("order.placed", "dead", group="billing"))


def test_the_guide_shows_what_the_program_for_fastapi_does() -> None:
    known = {line.strip() for line in (FASTAPI / "main.py").read_text().splitlines()}
    told = [line.strip() for block in shown("FastAPI and Starlette") for line in block.splitlines() if line.strip()]
    assert told
    assert [line for line in told if line not in known] == []


def test_the_extension_for_flask(own: ServerProcess, tmp_path: Path) -> None:
    (program,) = shown("Flask")
    assert ADDRESS in program
    (tmp_path / "shop.py").write_text(program.replace(ADDRESS, own.address))
    project = Project(tmp_path, "", own.address)
    port = free_port()
    with project.start("-m", "flask", "--app", "shop", "run", "--port", str(port)) as running:
        site = Site(running, port)
        site.until_it_answers("/orders")
        event = site.post("/orders", {"item": "ink"})["event"]
    with Client(own.address, timeout=10) as client:
        assert client.admin.get_event("order.placed", event).json() == {"item": "ink"}
