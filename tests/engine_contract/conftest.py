"""Every test in this folder runs on every engine.

``@pytest.mark.topic_config(...)`` sets the topics' settings where they differ from the defaults. Two markers are for
topics with several partitions. With ``within_a_partition(why)``, all events belong to the same partition, because the
test asserts what is promised within each. A test with ``one_partition(why)`` is skipped, because such topics do not
promise what it asserts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.redis.partitioned import dispatch
from support.builders import new_event
from support.harnesses import ENGINES, PARTITIONS, opener
from support.topics import TopicDriver

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from support.engines import Harness


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "topic_config(**settings): the fields of TopicConfig that differ from its defaults"
    )
    config.addinivalue_line("markers", "within_a_partition(why): a promise that holds within each partition")
    config.addinivalue_line("markers", "one_partition(why): a promise of topics with a single partition only")


@pytest.fixture
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether all events of a topic with several partitions belong to the same one, as the marker requests."""
    if request.node.get_closest_marker("within_a_partition") is None:
        return False
    monkeypatch.setattr(dispatch, "partition_number", lambda _, count: count - 1)
    return True


@pytest.fixture(params=ENGINES)
async def harness(request: pytest.FixtureRequest, together: bool) -> AsyncIterator[Harness]:
    """A started engine whose clock the test moves."""
    marker = request.node.get_closest_marker("topic_config")
    config = replace(TopicConfig(), **marker.kwargs) if marker else TopicConfig()
    of_one = request.node.get_closest_marker("one_partition")
    if of_one is not None and request.param == "partitioned":
        pytest.skip(f"not promised over several partitions: {of_one.args[0]}")
    if together and request.param == "partitioned":
        config = replace(config, max_queued=config.max_queued * PARTITIONS)  # each partition has its share of the limit
    async with opener(request.param)(config) as opened:
        yield opened


@pytest.fixture
async def topic(harness: Harness) -> TopicDriver:
    """An empty topic of the engine."""
    topic = TopicDriver(harness)
    await topic.set_partitions()
    return topic


@pytest.fixture
async def joined(topic: TopicDriver) -> TopicDriver:
    """A topic with one worker subscribed to its default group."""
    await topic.join()
    return topic


@pytest.fixture
async def pair(topic: TopicDriver) -> TopicDriver:
    """A topic with a ready event and one group, to which the sessions "old" and "new" have subscribed."""
    await topic.join("old", consumer="old worker")
    await topic.join("new", consumer="new worker")
    await topic.dispatch(new_event("event", body=b"twelve bytes"))
    return topic
