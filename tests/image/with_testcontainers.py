"""The Testcontainers modules of the clients, with the image. `make image-test` runs this, as it runs in_docker.py."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import pytest
from conformance.languages import read_languages
from support.docker import TIMEOUT_S
from support.documents import ROOT

if TYPE_CHECKING:
    from support.docker import Docker

LANGUAGES = read_languages()


@pytest.mark.timeout(3 * TIMEOUT_S)
@pytest.mark.parametrize("language", ["java", "go", "typescript", "rust"])
def test_half_an_hour_takes_milliseconds_in_a_container(language: str, docker: Docker, image: str) -> None:
    LANGUAGES[language].require_tools()
    # Where no registry is: no container removes the others, and none looks where ports are published.
    alone = {"TESTCONTAINERS_RYUK_DISABLED": "true", "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1"}
    environment = {**docker.environment, **alone, "DUEBUS_IMAGE": image}
    make = ["make", "-C", f"clients/{language}", "image-test"]
    done = subprocess.run(
        make, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}{done.stderr[-8000:]}"
