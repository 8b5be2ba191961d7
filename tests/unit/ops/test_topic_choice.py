"""Topics in trouble have gauges of their own, however many others there are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from duebus_server.domain.clock import SECOND
from duebus_server.domain.group_names import new_ephemeral_group
from duebus_server.domain.retry import RetryPolicy
from duebus_server.domain.states import EventState
from duebus_server.domain.views import GroupInfo, Rates, TopicConfig, TopicInfo
from duebus_server.ops.labels import EPHEMERAL, GROUPS_OF_A_TOPIC, OTHER
from duebus_server.ops.topic_choice import GroupFigures, TopicChoice, TopicFigures

if TYPE_CHECKING:
    from collections.abc import Collection


def group(
    name: str = "g",
    *,
    ready: int = 0,
    age_s: float = 0,
    dead: int = 0,
    blocked_s: float = 0,
    lease_s: float = 0,
    delivered: float = 0,
    nacked: float = 0,
    paused: bool = False,
    throttled: bool = False,
) -> GroupInfo:
    counts = dict.fromkeys(EventState, 0) | {EventState.READY: ready, EventState.DEAD: dead}
    return GroupInfo(
        name,
        paused,
        counts,
        (),
        int(age_s * SECOND),
        Rates(delivered=delivered, nacked=nacked),
        RetryPolicy(),
        oldest_blocked_age_us=int(blocked_s * SECOND),
        oldest_lease_age_us=int(lease_s * SECOND),
        throttled_until_us=1 if throttled else None,
    )


def topic(name: str, *groups: GroupInfo, queued: int = 0, max_queued: int = 0) -> TopicFigures:
    return TopicFigures(TopicInfo(name, TopicConfig(max_queued=max_queued), queued, groups or (group(),)))


def healthy(count: int) -> list[TopicFigures]:
    return [topic(f"healthy-{number:04}") for number in range(count)]


def choice(most: int, *topics: TopicFigures, before: Collection[str] = ()) -> TopicChoice:
    made = TopicChoice(most, before)
    made.add(sorted(topics, key=lambda each: each.name))
    return made


def names(made: TopicChoice) -> set[str]:
    return {each.name for each in made.chosen()}


def test_topics_in_trouble_come_before_the_first_by_name() -> None:
    troubled = [
        topic("old", group(ready=1, age_s=3600)),
        topic("held", group(blocked_s=60)),
        topic("dead", group(dead=1)),
        topic("many", group(ready=100_000)),
        topic("hung", group(lease_s=3600)),
        topic("failing", group(nacked=1)),
        topic("paused", group(paused=True, ready=1)),
        topic("full", queued=9, max_queued=10),
    ]
    made = choice(10, *healthy(1000), *troubled)
    assert names(made) == {each.name for each in troubled} | {"healthy-0000", "healthy-0001"}


def test_a_group_is_stuck_when_nothing_explains_why_its_events_wait() -> None:
    def stuck_age_s(**figures: Any) -> float:
        return GroupFigures.of(group(ready=1, age_s=3600, **figures)).stuck_age_s

    assert stuck_age_s() == 3600
    assert stuck_age_s(delivered=0.1) == 0
    assert stuck_age_s(throttled=True) == 0
    assert stuck_age_s(paused=True, throttled=True) == 0


def test_nothing_is_late_in_a_paused_group() -> None:
    figures = GroupFigures.of(group(ready=5, age_s=3600, blocked_s=60, paused=True))
    assert (figures.oldest_ready_age_s, figures.oldest_blocked_age_s) == (0, 0)
    assert (figures.paused, figures.paused_ready, figures.waiting) == (1, 5, 5)


def test_a_stuck_topic_among_the_others_shows_as_the_greatest_age() -> None:
    worse = topic("worse", group(ready=1, age_s=7200))
    busy = topic("busy", group(ready=1, age_s=3600, delivered=100))
    made = choice(1, worse, busy, topic("stuck", group(ready=1, age_s=600)))
    assert made.figures(made.chosen())[OTHER, OTHER].stuck_age_s == 600


def test_no_kind_of_trouble_hides_the_others() -> None:
    old = [topic(f"old-{number}", group(ready=1, age_s=number + 1)) for number in range(100)]
    dead = [topic(f"dead-{number}", group(dead=number + 1)) for number in range(100)]
    assert {"old-99", "dead-99"} <= names(choice(4, *old, *dead))


def test_topics_in_trouble_of_one_kind_take_all_places() -> None:
    dead = [topic(f"with-dead-{number}", group(dead=1)) for number in range(4)]
    assert names(choice(4, *healthy(10), *dead)) == {each.name for each in dead}


def test_fifty_topics_in_trouble_are_found_among_ten_thousand() -> None:
    kinds = [{"ready": 1, "age_s": 60}, {"blocked_s": 60}, {"dead": 3}, {"ready": 1000}, {"lease_s": 60}]
    troubled = [topic(f"trouble-{number}", group(**kinds[number % 5])) for number in range(50)]  # type: ignore[arg-type]
    assert {each.name for each in troubled} <= names(choice(200, *healthy(10_000), *troubled))


def test_the_others_are_counted_together_with_their_greatest_ages() -> None:
    old = topic("old", group(ready=1, age_s=3600))
    made = choice(1, *healthy(3), old, topic("less", group(ready=2, age_s=60, dead=1, blocked_s=5)))
    chosen = made.chosen()
    figures = made.figures(chosen)
    assert figures.keys() == {("old", "g"), (OTHER, OTHER)}
    others = figures[OTHER, OTHER]
    assert (others.events[EventState.READY], others.events[EventState.DEAD]) == (2, 1)
    assert (others.oldest_ready_age_s, others.oldest_blocked_age_s) == (60, 5)


def test_without_others_nothing_is_counted_as_other() -> None:
    made = choice(3, *healthy(3))
    assert made.figures(made.chosen()).keys() == {(each.name, "g") for each in healthy(3)}


def test_topics_in_no_trouble_stay_as_they_were_chosen() -> None:
    assert names(choice(1, *healthy(10), before=["healthy-0007"])) == {"healthy-0007"}
    assert names(choice(1, *healthy(10))) == {"healthy-0000"}


def test_the_groups_that_the_server_named_share_a_label() -> None:
    figures = topic("t", group(new_ephemeral_group(), ready=1), group(new_ephemeral_group(), ready=1)).by_label()
    assert figures.keys() == {("t", EPHEMERAL)}
    assert figures["t", EPHEMERAL].events[EventState.READY] == 2


def test_groups_in_trouble_have_labels_of_their_own() -> None:
    many = [group(f"healthy-{number:03}") for number in range(2 * GROUPS_OF_A_TOPIC)]
    figures = topic("t", *many, group("stuck", ready=1, age_s=60)).by_label()
    assert len(figures) == GROUPS_OF_A_TOPIC + 1
    assert figures["t", "stuck"].oldest_ready_age_s == 60
    assert ("t", OTHER) in figures
