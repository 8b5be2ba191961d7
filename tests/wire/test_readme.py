"""The programs and commands of the documents, run against a real server."""

from __future__ import annotations

import re
import shlex
import sqlite3
import subprocess
import sys
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from duebus import Client
from support.cli import Cli, Running, environment
from support.documents import README, ROOT, blocks, section, transcripts

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.documents import Transcript
    from support.server_process import ServerProcess

ADDRESS = "127.0.0.1:50051"
PYTHON = ROOT / "docs" / "python.md"
WORKER, DISPATCH = blocks(section(README, "A worker"), "python")
(WITH_ASYNCIO,) = blocks(section(PYTHON, "Clients"), "python")
SIGNAL_TIMEOUT_S = 180


@pytest.fixture
def own(start_server: Callable[..., ServerProcess]) -> ServerProcess:
    """A server for this test alone, because the documents name their topics."""
    return start_server()


def test_the_commands_of_the_first_60_seconds(own: ServerProcess) -> None:
    _, subscribe, dispatch = transcripts(section(README, "60 seconds"))[:3]
    shown_later = blocks(section(README, "60 seconds"), "console")[3]
    cli = Cli(own.address)

    with cli.start(*arguments(subscribe)) as subscriber:
        subscriber.wait_for(subscribe.printed[0])
        dispatched = cli.ok(*arguments(dispatch))
        assert general(dispatched.out) == general(dispatch.printed[0])
        assert general(subscriber.line()) == general(shown_later)


def test_the_programs_in_python(own: ServerProcess, tmp_path: Path) -> None:
    (worker,) = transcripts(section(README, "A worker"))
    (tmp_path / "shop.py").write_text(WORKER)
    Cli(own.address).ok("dispatch", "order.created", '{"id":42}')  # left over from the first 60 seconds

    with Cli(own.address, tmp_path).start(*arguments(worker)) as working:
        working.wait_for(worker.printed[0])
        assert working.line() == worker.printed[1]
        assert python(DISPATCH, own, tmp_path / "dispatch.py") == ""
        assert sorted([working.line(), working.line()]) == ["order 42 is billed", "order 43 is billed"]
        assert python(WITH_ASYNCIO, own, tmp_path / "with_asyncio.py") == ""
        assert working.line() == "order 45 is billed"
        assert working.end().status == 0

    (events,) = transcripts((ROOT / "docs/reference/commands.md").read_text())
    assert general(Cli(own.address).ok(*arguments(events)).out) == general("\n".join(events.printed))
    with Client(own.address) as client:
        scheduled = [*client.admin.list_events("order.check", "scheduled")]
        scheduled += client.admin.list_events("order.archive", "scheduled")
        assert [event.json() for event in scheduled] == [{"id": 42}, {"id": 42}]


def test_the_worker_is_a_program_too(own: ServerProcess, tmp_path: Path) -> None:
    python(WITH_ASYNCIO, own, tmp_path / "with_asyncio.py")
    with start(WORKER, own, tmp_path / "shop.py") as worker:
        assert worker.line() == "order 45 is billed"
        assert worker.end().status == 0


def test_the_typed_handler(own: ServerProcess, tmp_path: Path) -> None:
    (program,) = blocks(section(PYTHON, "Typed handlers"), "python")
    with Client(own.address) as client:
        client.dispatch("order.placed", {"id": 46, "lines": [{"item": "ink", "count": 2}, {"item": "pen"}]}, id="fits")
        client.dispatch("order.placed", {"id": 47, "lines": [{}]}, id="does-not-fit")
        with start(program, own, tmp_path / "typed.py") as worker:
            assert worker.line() == "order 46: 3 items, attempt 1"
            assert worker.end().status == 0
        assert [dead.event_id for dead in client.admin.list_events("order.placed", "dead", group="billing")] == [
            "does-not-fit"
        ]
        (copy,) = client.admin.get_event("order.placed", "does-not-fit").groups
    assert copy.last_error == "the payload does not fit Order: lines[0].item: is missing"


def test_the_batch_handler(own: ServerProcess, tmp_path: Path) -> None:
    (program,) = blocks(section(PYTHON, "Batches"), "python")
    with Client(own.address) as client, start(program, own, tmp_path / "batches.py") as worker:
        client.dispatch_many("row", [{"id": number, "item": "ink"} for number in range(100)])
        assert stored(worker, 100) < 100
        client.dispatch_many("row", [{"id": 100, "item": "pen"}, {"id": 101, "item": None}, {"id": 102, "item": "cup"}])
        stored(worker, 2)
        assert worker.end().status == 0
        assert client.admin.get_topic("row").queued == 1
    with closing(sqlite3.connect(tmp_path / "rows.db")) as database:
        assert database.execute("SELECT count(*) FROM rows WHERE id != 101").fetchone() == (102,)


def stored(worker: Running, count: int) -> int:
    """Waits until so many rows are stored. Returns in how many batches; how they are cut depends on the time."""
    batches = 0
    while count > 0:
        count -= int(worker.line().removesuffix(" stored"))
        batches += 1
    assert count == 0
    return batches


def test_the_interceptors(own: ServerProcess, tmp_path: Path) -> None:
    dispatching, handling = blocks(section(PYTHON, "Interceptors"), "python")
    with start(handling, own, tmp_path / "billing.py") as worker:
        assert python(dispatching, own, tmp_path / "shop.py") == ""
        assert worker.line() == "acme: order 48"
        assert re.fullmatch(r"bill took \d+\.\d{3} s", worker.line())
        assert worker.end().status == 0


def test_the_test_with_a_moved_clock(tmp_path: Path) -> None:
    (shown,) = blocks(section(PYTHON, "Testing your own code"), "python")
    (tmp_path / "test_shop.py").write_text(shown)
    ended = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_shop.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=SIGNAL_TIMEOUT_S,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout
    assert "1 passed" in ended.stdout


def test_the_program_about_errors(own: ServerProcess, tmp_path: Path) -> None:
    errors = section(ROOT / "docs" / "reference" / "errors.md", "What an error carries")
    (program,), (printed,) = blocks(errors, "python"), blocks(errors, "")
    assert python(program, own, tmp_path / "errors.py") == printed


def arguments(shown: Transcript) -> list[str]:
    """The arguments of a `duebus` command."""
    program, *rest = shlex.split(shown.command)
    assert program == ".venv/bin/duebus"
    return rest


def general(printed: str) -> str:
    """The output, without the parts that differ each time."""
    printed = re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "ID", printed)
    printed = re.sub(r"\d\d:\d\d:\d\d\.\d{3}", "TIME", printed)
    printed = re.sub(r"[\d.]+m?s (late|ago)", r"N \1", printed)
    return re.sub(r" +", " ", printed).strip()


def start(program: str, server: ServerProcess, file: Path) -> Running:
    """Starts a program that a document shows; it talks to the test's server."""
    assert ADDRESS in program
    file.write_text(program.replace(ADDRESS, server.address))
    pipe = subprocess.PIPE
    command = [sys.executable, str(file)]
    return Running(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env=environment(), cwd=file.parent))


def python(program: str, server: ServerProcess, file: Path) -> str:
    """Runs a program to its end. Returns its output."""
    with start(program, server, file) as running:
        result = running.result()
    assert result.status == 0, result.err
    return result.out
