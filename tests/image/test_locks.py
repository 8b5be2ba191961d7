"""The locks of the image: the same versions as in constraints.txt, all of them, each with hashes."""

from __future__ import annotations

import re
from importlib.metadata import requires
from typing import TYPE_CHECKING

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.documents import ROOT
from support.image import LOCKS

if TYPE_CHECKING:
    from pathlib import Path

ENVIRONMENT = {"python_full_version": "3.11.9", "python_version": "3.11", "sys_platform": "linux", "extra": ""}


def pins(file: Path) -> dict[str, str]:
    """The versions of a file, by name."""
    found = re.findall(r"^([\w.-]+)(?:\[[^\]]*\])?==([^\s;]+)", file.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.name))
def test_a_lock_has_the_versions_of_the_tests(lock: Path) -> None:
    assert pins(lock).items() <= pins(ROOT / "constraints.txt").items(), "run `make lock`"


def test_the_lock_of_the_image_is_complete_and_minimal() -> None:
    # given: what the image installs
    (options,) = re.findall(r"^LOCKED_EXTRAS = (.+)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    extras = ",".join(re.findall(r"--extra (\w+)", options))
    ahead = [Requirement(f"duebus[{extras}]")]
    needed: set[tuple[str, str]] = set()

    # when: what that asks for is followed, in what is installed here
    while ahead:
        requirement = ahead.pop()
        name = canonicalize_name(requirement.name)
        new = {(name, extra) for extra in ("", *requirement.extras)} - needed
        needed |= new
        ahead += [each for _, extra in new for each in asked_by(name, extra)]

    # then
    assert {name for name, _ in needed} - {"duebus"} == set(pins(ROOT / "requirements.lock")), "run `make lock`"


def asked_by(name: str, extra: str) -> list[Requirement]:
    """What a package needs on the image's Python, with an extra of it."""
    asked = [Requirement(each) for each in requires(name) or ()]
    where = {**ENVIRONMENT, "extra": extra}
    return [each for each in asked if each.marker is None or each.marker.evaluate(where)]


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: str(lock.name))
def test_every_version_has_hashes_and_no_registry_is_named(lock: Path) -> None:
    entries = re.split(r"\n(?=\S)", lock.read_text().strip())
    locked = [entry for entry in entries if not entry.startswith("#")]
    assert len(locked) == len(pins(lock)) > 0
    assert all("--hash=sha256:" in entry for entry in locked)
    assert "://" not in lock.read_text()
