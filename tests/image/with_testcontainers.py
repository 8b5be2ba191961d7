"""The Testcontainers modules of the clients, with the image. `make image-test` runs this, as it runs in_docker.py."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conformance.languages import read_languages
from support.docker import TIMEOUT_S, pulled_or_built
from support.documents import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.docker import Docker

pytestmark = pytest.mark.timeout(3 * TIMEOUT_S)

LANGUAGES = read_languages()

RYUK = {"java": "0.14.0", "go": "0.13.0", "typescript": "0.14.0"}
"""The version of the container that removes what a killed test leaves behind. Testcontainers of Rust has none."""

REAPER = """\
COPY reaper.py /
ENTRYPOINT ["python", "/reaper.py"]
"""


@pytest.fixture(scope="module", params=["java", "go", "typescript", "rust"])
def language(request: pytest.FixtureRequest, docker: Docker, image: str) -> Iterator[str]:
    """A language with a module, and what its tests need."""
    LANGUAGES[request.param].require_tools()
    if request.param not in RYUK:
        yield request.param
        return
    with pulled_or_built(docker, f"testcontainers/ryuk:{RYUK[request.param]}", REAPER, Path(__file__).parent):
        yield request.param


def own_tests(language: str, docker: Docker, image: str) -> tuple[list[str], dict[str, str]]:
    """The command that runs the tests of a language's module, and its environment."""
    environment = {
        **docker.environment,
        "DUEBUS_IMAGE": image,
        "TESTCONTAINERS_HOST_OVERRIDE": "127.0.0.1",  # it takes ports to be elsewhere if it finds itself in a container
        "TESTCONTAINERS_RYUK_CONTAINER_PRIVILEGED": "false",  # which root in a sandbox can't grant
    }
    return ["make", "-C", f"clients/{language}", "image-test"], environment


def test_half_an_hour_takes_milliseconds_in_a_container(language: str, docker: Docker, image: str) -> None:
    make, environment = own_tests(language, docker, image)
    done = subprocess.run(
        make, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, f"{done.stdout[-8000:]}{done.stderr[-8000:]}"


@pytest.mark.parametrize("language", RYUK, indirect=True)
def test_a_killed_test_leaves_no_container(language: str, docker: Docker, image: str) -> None:
    # given: a test whose container has started
    make, environment = own_tests(language, docker, image)
    watch = ("events", f"--filter=image={image}", "--filter=type=container", "--format={{.Action}} {{.ID}}")
    running = subprocess.Popen(
        make, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, process_group=0
    )
    with running, docker.lines(*watch) as events:
        assert events.stdout
        created = next(line for line in events.stdout if line.startswith("start ")).split()[1]

        # when: it is killed
        os.killpg(running.pid, signal.SIGKILL)

        # then
        assert f"destroy {created}\n" in events.stdout
        events.terminate()
