"""The image, built by a Docker engine, for the tests of `make image-test`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from support.docker import Docker, build_image, docker_engine

if TYPE_CHECKING:
    from collections.abc import Iterator

IMAGE = "duebus-test:image"


@pytest.fixture(scope="session")
def docker() -> Iterator[Docker]:
    with docker_engine() as engine:
        yield engine


@pytest.fixture(scope="session")
def image(docker: Docker) -> str:
    """The name of the image."""
    build_image(docker, IMAGE)
    return IMAGE
