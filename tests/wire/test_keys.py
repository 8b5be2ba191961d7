"""Order by key over a real socket: on every engine of the server, through the Python client."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus import Client, EventState, KeyInfo, NewEvent
from duebus.errors import InvalidArgument, MaxQueuedEventsReached, NotFound

if TYPE_CHECKING:
    from collections.abc import Iterator

    from support.server_process import ServerProcess

GROUP = "billing"


@pytest.fixture
def client(server: ServerProcess) -> Iterator[Client]:
    with Client(server.address, timeout=10) as opened:
        yield opened


def dispatch(client: Client, topic: str, *ids: str, key: str = "order-17", delay: float | None = None) -> None:
    client.dispatch_many(topic, [NewEvent(data=each, id=each, key=key, delay=delay) for each in ids])


def test_a_stream_gets_one_event_of_a_key_at_a_time(client: Client, topic: str) -> None:
    with client.subscribe(topic, group=GROUP) as stream:
        dispatch(client, topic, "a", "b", "c")
        dispatch(client, topic, "x", key="other")
        first, other = next(stream), next(stream)
        assert [(each.event_id, each.key) for each in (first, other)] == [("a", "order-17"), ("x", "other")]

        client.nack(first, delay=0.0)
        again = next(stream)
        assert (again.event_id, again.attempt) == ("a", 2)
        assert again.fencing_token > first.fencing_token
        client.ack(again)

        second = next(stream)
        assert second.event_id == "b"
        assert second.fencing_token > again.fencing_token
        client.nack(second, dead_letter=True)
        assert next(stream).event_id == "c"


def test_operators_see_what_a_key_holds_up(client: Client, topic: str) -> None:
    with client.subscribe(topic, group=GROUP) as stream:
        dispatch(client, topic, "a", "b", "c")
        dispatch(client, topic, "x", key="other", delay=3_600)
        held = next(stream)

        (group,) = client.admin.get_topic(topic).groups
        assert (group.leased, group.blocked, group.scheduled, group.ready) == (1, 2, 1, 0)
        assert group.oldest_ready_age is None
        assert group.oldest_blocked_age is not None
        assert list(client.admin.list_keys(topic, group=GROUP)) == [
            KeyInfo(key="order-17", blocked=2, in_flight=1, head_event_id=held.event_id)
        ]
        blocked = list(client.admin.list_events(topic, EventState.BLOCKED, group=GROUP))
        assert [(each.event_id, each.key, each.groups[0].waits_for) for each in blocked] == [
            ("b", "order-17", "a"),
            ("c", "order-17", "a"),
        ]
        assert scheduled(client, topic, "other") == ["x"]
        assert scheduled(client, topic, "order-17") == []


def scheduled(client: Client, topic: str, key: str) -> list[str]:
    return [each.event_id for each in client.admin.list_events(topic, "scheduled", group=GROUP, key=key)]


def test_keys_are_listed_page_by_page(client: Client, topic: str) -> None:
    with client.subscribe(topic, group=GROUP):
        for key in "abcde":
            dispatch(client, topic, f"of {key}", key=key)

        found = [each.key for each in client.admin.list_keys(topic, group=GROUP, page_size=2)]

        assert sorted(found) == ["a", "b", "c", "d", "e"]


def test_the_events_of_a_key_are_cancelled(client: Client, topic: str) -> None:
    with client.subscribe(topic, group=GROUP) as stream:
        dispatch(client, topic, "a", "b", "c")
        dispatch(client, topic, "later", delay=3_600)
        dispatch(client, topic, "x", "y", key="other")
        assert [next(stream).event_id for _ in range(2)] == ["a", "x"]

        answer = client.admin.cancel(topic, key="order-17")

        assert (answer.cancelled, answer.leased_event_ids) == (3, ("a",))

        (group,) = client.admin.get_topic(topic).groups
        assert (group.leased, group.blocked, group.scheduled) == (2, 1, 0)
        with pytest.raises(InvalidArgument) as refused:
            client.admin.cancel(topic, ["a"], key="order-17")
        assert [each.field for each in refused.value.field_violations] == ["event_ids"]


def test_dead_letters_are_chosen_by_key(client: Client, topic: str) -> None:
    with client.subscribe(topic, group=GROUP) as stream:
        dispatch(client, topic, "a")
        dispatch(client, topic, "x", key="other")
        for _ in range(2):
            client.nack(next(stream), dead_letter=True)

        assert client.admin.redrive(topic, group=GROUP, key="order-17").redriven == 1
        assert client.admin.purge(topic, group=GROUP, key="other").purged == 1
        assert next(stream).event_id == "a"


def test_a_key_that_is_held_up_is_refused_and_others_are_not(client: Client, topic: str) -> None:
    client.admin.configure_topic(topic, max_queued=20)
    dispatch(client, topic, "a", "b", "c")
    with pytest.raises(MaxQueuedEventsReached) as refused:
        dispatch(client, topic, "d")
    assert refused.value.metadata["key"] == "order-17"
    dispatch(client, topic, "x", key="other")


def test_keys_of_an_unknown_group_are_not_found(client: Client, topic: str) -> None:
    dispatch(client, topic, "a")
    with pytest.raises(NotFound):
        list(client.admin.list_keys(topic, group="nobody"))
