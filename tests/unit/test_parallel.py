"""How the suite is distributed to workers, and what it prints."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conformance.languages import read_languages
from support.documents import ROOT
from support.parallel import ALONE, ALONE_FILES, LONGEST, unit_of

if TYPE_CHECKING:
    from pathlib import Path

MEETING = """
import os
import threading
from pathlib import Path

HERE = Path(__file__).parent

def test_it_runs_beside_the_other():
    (HERE / f"began-{os.getpid()}").touch()
    while len(list(HERE.glob("began-*"))) < 2:
        threading.Event().wait(0.01)  # nothing signals that a file is there

def test_it_ends():
    Path(__file__).with_suffix(".ended").touch()
"""
MEASURING = """
from pathlib import Path

def test_the_others_have_ended():
    assert len(list(Path("tests/unit").glob("*.ended"))) == 2
"""


def run(folder: Path, files: dict[str, str], workers: int) -> subprocess.CompletedProcess[str]:
    """Write these files to the folder, and run them as `make test` does."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-p", "support.parallel", "-n", str(workers), "--import-mode=importlib"]
    env = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    env["PYTHONPATH"] = str(ROOT / "tests")
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=180, check=False)


def test_files_run_in_parallel_and_timing_tests_run_after_them(tmp_path: Path) -> None:
    together = {f"tests/unit/test_{number}.py": MEETING for number in range(2)}

    done = run(tmp_path, {min(ALONE_FILES): MEASURING, **together}, workers=2)

    assert done.returncode == 0, done.stdout
    *_, alone, _, closing = done.stdout.splitlines()
    assert alone.startswith("[100%] alone: 1 test,")
    assert "5 passed" in closing


def test_a_failure_is_printed_at_once(tmp_path: Path) -> None:
    done = run(tmp_path, {"test_a.py": "def test_it(): assert 1 > 2", "test_b.py": "def test_it(): pass"}, workers=2)

    output, summary = done.stdout.split("FAILURES", 1)
    assert "\nFAILED test_a.py::test_it (call)\n" in output
    assert summary.splitlines()[-1].strip("= ").startswith("1 failed, 1 passed in")


def test_text_that_utf8_can_not_encode_is_printed_escaped(tmp_path: Path) -> None:
    printing = "import sys\ndef test_it():\n    sys.stdout.write('\\ud800')\n    assert '\\ud800' == ''"

    done = run(tmp_path, {"test_a.py": printing}, workers=1)

    assert "INTERNALERROR" not in done.stdout
    assert done.stdout.splitlines()[-1].strip("= ").startswith("1 failed in")


@pytest.mark.parametrize(
    ("nodeid", "unit"),
    [
        ("tests/conformance/test_cases.py::test_case[go-redis-an-ack]", "tests/conformance (go)"),
        ("tests/conformance/test_clients.py::test_a_client_passes_its_own_tests[go]", "tests/conformance (go)"),
        ("tests/conformance/test_parity.py::test_the_page", "tests/conformance/test_parity.py"),
        ("tests/package/test_clients.py::test_it[go]", "tests/conformance (go)"),
        ("tests/package/test_wheel.py::test_it[newest-server]", "tests/package/test_wheel.py"),
        ("tests/package/test_chart.py::test_it", "tests/helm"),
        ("tests/helm/test_chart.py::test_it[1]", "tests/helm"),
        ("tests/wire/test_rpcs.py::test_it[tests/wire/test_timing.py]", "tests/wire/test_rpcs.py"),
        *((f"{file}::test_it", ALONE) for file in sorted(ALONE_FILES)),
    ],
)
def test_a_test_shares_a_worker_with_those_of_its_unit(nodeid: str, unit: str) -> None:
    assert unit_of(nodeid) == unit


def test_the_units_that_are_named_are_there() -> None:
    files = {unit for unit in (*ALONE_FILES, *LONGEST) if unit.endswith(".py")}
    languages = {f"tests/conformance ({language})" for language in read_languages()}
    assert [file for file in files if not (ROOT / file).is_file()] == []
    assert set(LONGEST) - files == {*languages, "tests/helm"}


def test_a_test_that_ends_its_process_fails_once_and_the_others_run(tmp_path: Path) -> None:
    ending = "import os\ndef test_it(): os._exit(1)\ndef test_the_next(): pass"

    done = run(tmp_path, {"test_a.py": ending, "test_b.py": "def test_it(): pass"}, workers=2)

    assert done.stdout.splitlines()[-1].strip("= ").startswith("1 failed, 2 passed in")
    assert "crashed while running 'test_a.py::test_it'" in done.stdout


def test_a_teardown_that_never_ends_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DUEBUS_TEARDOWN_TIMEOUT_S", "1")
    hanging = """
import threading
import pytest

@pytest.fixture
def hanging():
    yield
    threading.Event().wait()

def test_it(hanging):
    pass
"""

    done = run(tmp_path, {"test_a.py": hanging, "test_b.py": "def test_it(): pass"}, workers=2)

    assert done.stdout.splitlines()[-1].strip("= ").startswith("1 failed, 2 passed in")
    assert "crashed while running 'test_a.py::test_it'" in done.stdout
