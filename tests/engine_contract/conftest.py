"""Every test of this folder runs on every engine.

``@pytest.mark.topic_config(...)`` gives the topics of a test other settings than the defaults. Two markers are for
topics over several partitions: ``within_a_partition(why)``, whose events all belong to the same one, because what the
test asserts is promised within each; and ``one_partition(why)``, which is left out, because no topic over several
promises it.
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
    config.addinivalue_line("markers", "one_partition(why): a promise of topics with one partition alone")


@pytest.fixture
def together(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the events of a topic over several partitions all belong to the same one, as the marker asks for."""
    if request.node.get_closest_marker("within_a_partition") is None:
        return False
    monkeypatch.setattr(dispatch, "partition_number", lambda _, count: count - 1)
    return True


@pytest.fixture(params=ENGINES)
async def harness(request: pytest.FixtureRequest, together: bool) -> AsyncIterator[Harness]:
    """A started engine with a clock to move."""
    marker = request.node.get_closest_marker("topic_config")
    config = replace(TopicConfig(), **marker.kwargs) if marker else TopicConfig()
    of_one = request.node.get_closest_marker("one_partition")
    if of_one is not None and request.param == "spread":
        pytest.skip(f"over several partitions this is otherwise: {of_one.args[0]}")
    if together and request.param == "spread":
        config = replace(config, max_queued=config.max_queued * PARTITIONS)  # each partition takes its share
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
