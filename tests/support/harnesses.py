"""The engines that ``engine_contract`` and ``property`` run on. A new engine needs an entry in ENGINES."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
from duebus_server.domain.views import TopicConfig

from support.engines import Harness, journaled, local
from support.redis_engine import redis

OpenHarness = Callable[[TopicConfig], AbstractAsyncContextManager[Harness]]

PARTITIONS = 4

ENGINES: dict[str, OpenHarness] = {
    "local": local,
    "journal": journaled,
    "redis": redis,
    "partitioned": partial(redis, partitions=PARTITIONS),
}
"""Opens a harness on each engine, whose topics have the given settings. "journal" is local with a data directory,
"partitioned" is redis with partitions.
"""

PROGRAMS = {"redis": "redis-server", "partitioned": "redis-server"}
"""The program that an engine needs on this machine."""


def opener(engine: str) -> OpenHarness:
    """The opener of a harness on this engine. If its program is missing, the test is skipped, or fails in CI."""
    program = PROGRAMS.get(engine)
    if program is not None and shutil.which(program) is None and not os.environ.get("CI"):
        pytest.skip(f"{program} is missing: 'make redis' installs it")
    return ENGINES[engine]
