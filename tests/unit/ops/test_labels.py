"""Metrics have a bounded number of labels, however many names clients make up."""

from __future__ import annotations

from duebus_server.ops.labels import GROUPS_OF_A_TOPIC, OTHER, Labels


def test_the_first_topics_have_their_own_labels_and_the_others_share_one() -> None:
    labels = Labels(2)
    assert [labels.topic(topic) for topic in ("a", "b", "c", "d", "a")] == ["a", "b", OTHER, OTHER, "a"]
    assert labels.group("c", "billing") == (OTHER, OTHER)
    assert labels.group("a", "billing") == ("a", "billing")


def test_with_a_limit_of_zero_all_share_one_label() -> None:
    assert Labels(0).group("a", "billing") == (OTHER, OTHER)


def test_the_number_of_groups_is_limited_too() -> None:
    labels = Labels(1)
    found = {labels.group("a", f"group-{number}") for number in range(10 * GROUPS_OF_A_TOPIC)}
    assert len(found) == GROUPS_OF_A_TOPIC + 1
    assert ("a", OTHER) in found


def test_topics_in_trouble_get_labels_of_their_own_as_far_as_there_is_room() -> None:
    labels = Labels(2)
    assert [labels.topic(topic) for topic in ("a", "b", "c")] == ["a", "b", OTHER]
    labels.add_troubled(["a", "c", "d", "e"])
    assert [labels.topic(topic) for topic in ("a", "b", "c", "d", "e", "f")] == ["a", "b", "c", "d", OTHER, OTHER]
