"""The clients' own tests, each with the tools of its language."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from bench import clients
from bench.system import System
from conformance.features import read_features
from conformance.languages import ROOT, read_languages

if TYPE_CHECKING:
    from conformance.drivers import Drivers
    from conformance.parity import Results

LANGUAGES = read_languages()

TIMEOUT_S = 1_200


@pytest.mark.timeout(TIMEOUT_S + 60)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_passes_its_own_tests(language: str, results: Results) -> None:
    LANGUAGES[language].require_tools()
    done = subprocess.run(own_tests(language), cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    results.note_own_tests(language, passed=done.returncode == 0)
    assert done.returncode == 0, f"{done.stdout[-8000:]}{done.stderr[-8000:]}"


def own_tests(language: str) -> list[str]:
    """The command that runs them. Of Python's, which are pytest's, only those that prove features."""
    if language != "python":
        return ["make", "-C", f"clients/{language}", "test"]
    proofs = [proof for feature in read_features() if (proof := feature.proofs.get("python"))]
    return [".venv/bin/pytest", "-q", "-n", "0", *(f"{proof.file}::{proof.test}" for proof in proofs)]


@pytest.mark.timeout(TIMEOUT_S + 60)
@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_can_be_measured(language: str, drivers: Drivers) -> None:
    drivers.get(LANGUAGES[language])  # the same build makes the program, Rust's without optimization
    program = tuple(each.replace("/release/", "/debug/") for each in LANGUAGES[language].bench)
    with System("local") as system:
        measured = clients.measure(system, replace(LANGUAGES[language], bench=program), clients.QUICK)
    assert all(measured[f"{part}_{figure}"] > 0 for part in clients.PARTS for figure in ("per_s", "client_us"))


def test_features_have_the_tests_that_prove_them() -> None:
    proofs = [proof for feature in read_features() for proof in feature.proofs.values()]
    assert [proof for proof in proofs if not proof.exists()] == []


def test_every_client_with_a_makefile_takes_the_suite() -> None:
    assert {makefile.parent.name for makefile in ROOT.glob("clients/*/Makefile")} == set(LANGUAGES)
