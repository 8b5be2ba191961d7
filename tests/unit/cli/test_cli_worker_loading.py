"""`duebus worker module:attribute` finds its Worker, or reports in one line why not."""

import sys
from pathlib import Path
from uuid import uuid4

import pytest
from duebus import Worker
from duebus.cli.failures import CommandFailed
from duebus.cli.worker import load_worker

SOURCE = """
from types import SimpleNamespace
from duebus import Worker
worker = Worker()
inside = SimpleNamespace(worker=worker)
number = 3
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module in the current directory, which is not on the path."""
    name = f"module_{uuid4().hex}"
    (tmp_path / f"{name}.py").write_text(SOURCE)
    (tmp_path / f"broken_{name}.py").write_text("\nraise LookupError('no\\nluck')\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    return name


@pytest.mark.parametrize("attribute", ["worker", "inside.worker"])
def test_a_worker_is_found_in_the_current_directory(module: str, attribute: str) -> None:
    assert isinstance(load_worker(f"{module}:{attribute}"), Worker)


@pytest.mark.parametrize("target", ["", ":", "module", "module:", ":worker"])
def test_a_target_needs_both_parts(target: str) -> None:
    with pytest.raises(CommandFailed, match="is not MODULE:ATTRIBUTE"):
        load_worker(target)


def test_a_missing_module_or_attribute_is_named(module: str) -> None:
    with pytest.raises(CommandFailed, match="No module named 'nowhere'"):
        load_worker("nowhere:worker")
    with pytest.raises(CommandFailed, match="has no attribute 'nothing'"):
        load_worker(f"{module}:nothing")


def test_an_object_that_is_not_a_worker_is_refused(module: str) -> None:
    with pytest.raises(CommandFailed, match="is of type int, not a"):
        load_worker(f"{module}:number")


def test_the_error_of_a_module_is_shown_with_its_line(module: str) -> None:
    with pytest.raises(CommandFailed, match=rf"LookupError: no\nluck \(.*broken_{module}.py:2\)"):
        load_worker(f"broken_{module}:worker")
