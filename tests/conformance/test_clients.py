"""The clients' own tests, each with the tools of its language."""

from __future__ import annotations

import subprocess

import pytest
from conformance.languages import ROOT, read_languages

LANGUAGES = read_languages()
OTHERS = [name for name in LANGUAGES if name != "python"]
"""The clients whose tests are not pytest's."""

TIMEOUT_S = 1_200


@pytest.mark.timeout(TIMEOUT_S + 60)
@pytest.mark.parametrize("language", OTHERS)
def test_a_client_passes_its_own_tests(language: str) -> None:
    LANGUAGES[language].require_tools()
    command = ["make", "-C", f"clients/{language}", "test"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
    assert done.returncode == 0, f"{done.stdout[-8000:]}{done.stderr[-8000:]}"


def test_every_client_with_a_makefile_takes_the_suite() -> None:
    assert {makefile.parent.name for makefile in ROOT.glob("clients/*/Makefile")} == set(LANGUAGES)
