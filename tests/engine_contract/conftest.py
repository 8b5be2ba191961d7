"""Every test of this folder runs on every engine.

``@pytest.mark.topic_config(...)`` gives the topics of a test other settings than the defaults, and
``@pytest.mark.one_partition(why)`` says that what a test asserts is not promised of a topic over several.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.views import TopicConfig
from support.builders import new_event
from support.harnesses import ENGINES, opener
from support.topics import TopicDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.engines import Harness


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "topic_config(**settings): the fields of TopicConfig that differ from its defaults"
    )
    config.addinivalue_line("markers", "one_partition(why): a promise of topics with one partition alone")


@pytest.fixture(params=ENGINES)
async def harness(request: pytest.FixtureRequest) -> AsyncIterator[Harness]:
    """A started engine with a clock to move."""
    marker = request.node.get_closest_marker("topic_config")
    config = replace(TopicConfig(), **marker.kwargs) if marker else TopicConfig()
    of_one = request.node.get_closest_marker("one_partition")
    if of_one is not None and request.param == "spread":
        pytest.skip(f"over several partitions this is otherwise: {of_one.args[0]}")
    async with opener(request.param)(config) as opened:
        yield opened


@pytest.fixture
async def topic(harness: Harness) -> TopicDriver:
    """A topic of the engine that has nothing in it yet."""
    topic = TopicDriver(harness)
    await topic.spread()
    return topic


@pytest.fixture
async def joined(topic: TopicDriver) -> TopicDriver:
    """A topic to whose default group one worker has subscribed."""
    await topic.join()
    return topic


@pytest.fixture
async def pair(topic: TopicDriver) -> TopicDriver:
    """A topic with one group, to which the sessions "old" and "new" have subscribed, and an event that is ready."""
    await topic.join("old", consumer="old worker")
    await topic.join("new", consumer="new worker")
    await topic.dispatch(new_event("event", body=b"twelve bytes"))
    return topic
