"""The wheel in empty environments: each extra does its job, and a missing one is named."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from functools import cache
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from support.cli import Running, environment
from support.documents import ROOT
from support.packages import Package, check_row
from support.packing import UV, pack_python
from support.redis_engine import redis_flags
from support.server_process import READY

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CONSTRAINTS = ROOT / "constraints.txt"

# The first test that needs an environment makes it.
pytestmark = pytest.mark.timeout(900)

OUTBOX = """
from duebus.integrations.sqlalchemy import Outbox
from sqlalchemy import MetaData, create_engine, func, select
from sqlalchemy.orm import Session

outbox = Outbox(MetaData())
engine = create_engine("sqlite:///shop.db")
outbox.table.metadata.create_all(engine)
with Session(engine) as session, session.begin():
    outbox.dispatch(session, "order.created", 42)
with engine.connect() as connection:
    print(connection.scalar(select(func.count()).select_from(outbox.table)))
"""

DJANGO = """
import django
from django.conf import settings
settings.configure(
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "shop.db"}},
    INSTALLED_APPS=["duebus.integrations.django"],
)
django.setup()
from django.core.management import call_command
from duebus.integrations.django import dispatch
from duebus.integrations.django.models import OutboxRow
call_command("migrate", verbosity=0)
dispatch("order.created", 42)
print(OutboxRow.objects.count())
call_command("duebus_worker")
"""

DISPATCH = """
import sys
from datetime import timedelta
from duebus import Client, Worker

worker = Worker(sys.argv[1], group="g")

@worker.on("order.created")
def handle(delivery):
    print(delivery.json()["id"], delivery.attempt, "traceparent" in delivery.attributes, flush=True)
    worker.request_stop()

with Client(sys.argv[1]) as client:
    with client.subscribe("order.created", group="g") as subscription:
        subscription.started()
    client.dispatch("order.created", {"id": 42}, delay=timedelta(milliseconds=1))
    assert client.is_serving()
worker.run()
"""

TRACED = (
    "from opentelemetry import trace\n"
    "from opentelemetry.sdk.trace import TracerProvider\n"
    "trace.set_tracer_provider(TracerProvider())\n"
    "span = trace.get_tracer('t').start_as_current_span('s')\n"
    "span.__enter__()\n"
)

TESTS = """
def test_without_it():
    pass

def test_it(duebus):
    duebus.client.dispatch("order.created", {"id": 42})
    assert duebus.client.admin.get_topic("order.created").topic == "order.created"
"""


@pytest.fixture(scope="module")
def wheel(dist: Path) -> Path:
    pack_python(dist)
    (built,) = dist.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def install(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Make an environment with the wheel and some of its extras. Returns its folder of programs."""

    @cache
    def made(extras: str = "", *more: str, oldest: bool = False) -> Path:
        folder = tmp_path_factory.mktemp("venv")
        python = str(folder / "bin" / "python")
        uv("venv", "--python", sys.executable, str(folder))
        # The newest version is the one in constraints.txt, so that a new release changes nothing here.
        versions = ["--resolution", "lowest-direct"] if oldest else ["--constraint", str(CONSTRAINTS)]
        packages = [*direct(extras), *more, f"duebus[{extras}] @ {wheel.as_uri()}"]
        uv("pip", "install", "--python", python, *versions, *packages)
        return folder / "bin"

    return made


def uv(*arguments: str) -> str:
    """Runs uv to its end. Returns its output."""
    ended = subprocess.run([UV, *arguments], capture_output=True, text=True, check=False, cwd="/")
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def direct(extras: str) -> list[str]:
    """The requirements of these extras. They are named one by one, so that uv takes the lowest version of each."""
    ahead, found = [Requirement(f"duebus[{extras}]")], list(PROJECT["dependencies"])
    while ahead:
        for extra in ahead.pop().extras:
            for each in map(Requirement, PROJECT["optional-dependencies"][extra]):
                (ahead if each.name == "duebus" else found).append(each)
    return [str(each) for each in found]


def installed(folder: Path) -> list[str]:
    """The distributions of an environment."""
    return uv("pip", "list", "--format", "freeze", "--python", str(folder / "python")).splitlines()


def run(folder: Path, program: str, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs one of an environment's programs to its end."""
    return subprocess.run(
        [folder / program, *arguments], capture_output=True, text=True, check=False, env=environment(), cwd=cwd or "/"
    )


def serving(folder: Path, *flags: str) -> Running:
    """`duebus serve` of an environment."""
    command = [str(folder / "duebus"), "serve", "--listen", "127.0.0.1:0", *flags]
    pipe = subprocess.PIPE
    return Running(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(), cwd="/"))


def address_of(server: Running) -> str:
    """Where it listens; waits for it."""
    ready = READY.fullmatch(server.line())
    assert ready is not None, server.result()
    return ready[1]


# --- the client alone -------------------------------------------------------------------------------------------------


def test_the_client_is_at_most_five_distributions_and_quick_to_import(install: Callable[..., Path]) -> None:
    client = install()
    assert len(installed(client)) <= 5
    run(client, "python", "-c", "import duebus")  # Python compiles it once
    cpu = run(client, "python", "-c", "import duebus, time; print(time.process_time())")
    assert float(cpu.stdout) < 0.3


@pytest.mark.parametrize("extra", ["", "server"])
def test_the_size_and_the_dependencies_are_those_of_the_table(
    install: Callable[..., Path], wheel: Path, extra: str
) -> None:
    name = f"PyPI: duebus[{extra}]" if extra else "PyPI: duebus"
    check_row(Package(name, round(wheel.stat().st_size / 1024), len(direct(extra)), len(installed(install(extra))) - 1))


@pytest.mark.parametrize("oldest_client", [False, True], ids=["newest-client", "oldest-client"])
@pytest.mark.parametrize("oldest_server", [False, True], ids=["newest-server", "oldest-server"])
def test_clients_and_servers_of_the_oldest_and_newest_grpc_and_protobuf_talk_to_each_other(
    install: Callable[..., Path], oldest_client: bool, oldest_server: bool
) -> None:
    client, server = install(oldest=oldest_client), install("server", oldest=oldest_server)
    with serving(server) as running:
        handled = run(client, "python", "-c", DISPATCH, address_of(running))
        assert (handled.stdout, handled.stderr) == ("42 1 False\n", "")
        assert running.end().status == 0


def test_a_server_with_the_oldest_client_of_redis_serves_the_redis_engine(install: Callable[..., Path]) -> None:
    flags = redis_flags()
    with serving(install("server", oldest=True), *flags) as running:
        handled = run(install(), "python", "-c", DISPATCH, address_of(running))
        assert (handled.stdout, handled.stderr) == ("42 1 False\n", "")
        assert running.end().status == 0


def test_the_oldest_are_a_major_of_protobuf_and_a_year_of_grpc_before_the_newest(install: Callable[..., Path]) -> None:
    code = "import grpc, google.protobuf as p; print(grpc.__version__, p.__version__)"
    oldest, newest = run(install(oldest=True), "python", "-c", code), run(install(), "python", "-c", code)
    assert oldest.stdout.split() == ["1.76.0", "6.31.1"]
    assert newest.stdout.split()[1].startswith("7.")


# --- extras -----------------------------------------------------------------------------------------------------------


def test_the_pinned_versions_fit_the_oldest_python() -> None:
    """Debian 12's: `make install` takes it where there is no other."""
    what: list[str | Path] = [
        "--constraint",
        ROOT / "constraints.txt",
        "--all-extras",
        "--group",
        "dev",
        ROOT / "pyproject.toml",
    ]
    oldest = ["--python-version", "3.11.2", "--quiet", "--no-header"]
    done = subprocess.run([UV, "pip", "compile", *oldest, *what], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert "\npymdown-extensions==" in done.stdout


def test_with_cli_the_command_line_works_and_serve_names_its_extra(install: Callable[..., Path]) -> None:
    with serving(install("server")) as running:
        sent = run(install("cli"), "duebus", "--server", address_of(running), "dispatch", "order.created", "1")
        assert sent.stdout.startswith("dispatched "), sent
    refused = run(install("cli"), "duebus", "serve")
    assert refused.returncode == 1
    assert refused.stderr == "duebus: serve needs the extra server: pip install 'duebus[server]'\n"


def test_without_cli_the_command_names_its_extra(install: Callable[..., Path]) -> None:
    refused = run(install(), "duebus", "topics")
    assert refused.returncode == 1
    assert refused.stderr == "duebus: the command line needs the extra cli: pip install 'duebus[cli]'\n"


def test_with_otel_events_have_the_span_of_the_producer(install: Callable[..., Path]) -> None:
    with serving(install("server")) as running:
        handled = run(install("otel"), "python", "-c", TRACED + DISPATCH, address_of(running))
        assert handled.stdout == "42 1 True\n", handled.stderr


def test_with_testing_the_fixture_works(install: Callable[..., Path], tmp_path: Path) -> None:
    ended = run_pytest(install("testing"), tmp_path)
    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


def test_without_testing_pytest_runs_and_the_fixture_names_its_extra(
    install: Callable[..., Path], tmp_path: Path
) -> None:
    ended = run_pytest(install("", "pytest"), tmp_path)
    assert "1 passed, 1 error" in ended.stdout
    assert "Error: a bus for tests needs the extra testing: pip install 'duebus[testing]'" in ended.stdout


def test_with_sqlalchemy_an_event_is_written_in_the_programs_transaction(
    install: Callable[..., Path], tmp_path: Path
) -> None:
    written = run(install("sqlalchemy"), "python", "-c", OUTBOX, cwd=tmp_path)
    assert written.stdout == "1\n", written.stderr
    refused = run(install("cli"), "duebus", "outbox", "relay", "--database", "sqlite://")
    assert refused.stderr == "duebus: outbox needs the extra sqlalchemy: pip install 'duebus[sqlalchemy]'\n"


@pytest.mark.parametrize("oldest", [False, True], ids=["newest", "oldest"])
def test_with_django_an_event_is_written_and_tasks_name_their_package(
    install: Callable[..., Path], tmp_path: Path, oldest: bool
) -> None:
    written = run(install("django", oldest=oldest), "python", "-c", DJANGO, cwd=tmp_path)
    assert written.stdout == "1\n", written.stderr
    assert written.stderr.endswith("before that of another package: pip install django-tasks\n")


def run_pytest(folder: Path, place: Path) -> subprocess.CompletedProcess[str]:
    """One test with the fixture, and one without."""
    (place / "test_shop.py").write_text(TESTS)
    return run(folder, "python", "-m", "pytest", "-p", "no:cacheprovider", "test_shop.py", cwd=place)
