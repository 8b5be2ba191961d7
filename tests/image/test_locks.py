"""The locks of the image: the same versions as in constraints.txt, all of them, each with hashes."""

from __future__ import annotations

import re
from importlib.metadata import requires
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.documents import ROOT
from support.image import DOCKERFILE, LOCKS

if TYPE_CHECKING:
    from pathlib import Path

OLDEST = {"python_full_version": "3.11.9", "python_version": "3.11", "sys_platform": "linux", "extra": ""}
OF_THE_IMAGE = {**OLDEST, "python_full_version": "3.13.16", "python_version": "3.13"}


def pins(file: Path) -> dict[str, str]:
    """The versions of a file, by name."""
    found = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", file.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.name))
def test_a_lock_has_the_versions_of_the_tests(lock: Path) -> None:
    assert pins(lock).items() <= pins(ROOT / "constraints.txt").items(), "run `make lock`"


def test_the_lock_is_complete_and_minimal_for_the_oldest_python() -> None:
    assert needed_on(OLDEST) == set(pins(ROOT / "requirements.lock")), "run `make lock`"


def test_the_lock_is_complete_for_the_python_of_the_image() -> None:
    (image,) = re.findall(r"^ARG PYTHON_IMAGE=.*/python:([\d.]+)-", DOCKERFILE.read_text(), re.MULTILINE)
    assert OF_THE_IMAGE["python_version"] == image
    assert needed_on(OF_THE_IMAGE) <= set(pins(ROOT / "requirements.lock")), "run `make lock`"


def needed_on(environment: dict[str, str]) -> set[str]:
    """The packages that the image installs, on a Python."""
    (options,) = re.findall(r"^LOCKED_EXTRAS = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = ",".join(re.findall(r"--extra (\w+)", options))
    ahead = [Requirement(f"duebus[{extras}]")]
    needed: set[tuple[str, str]] = set()

    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        new = {(name, extra) for extra in ("", *requirement.extras)} - needed
        needed |= new
        ahead += [each for _, extra in new for each in asked_by(name, {**environment, "extra": extra})]
    return {name for name, _ in needed} - {"duebus"}


def asked_by(name: str, where: dict[str, str]) -> list[Requirement]:
    """What a package needs, as its metadata that is installed here says, with an extra of it and on a Python."""
    asked = [Requirement(each) for each in requires(name) or ()]
    return [each for each in asked if each.marker is None or each.marker.evaluate(where)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.name))
def test_every_version_has_hashes_and_no_registry_is_named(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    locked = [entry for entry in entries if not entry.startswith("#")]
    assert len(locked) == len(pins(lock)) > 0
    assert all("--hash=sha256:" in entry for entry in locked)
    assert "://" not in lock.read_text()
