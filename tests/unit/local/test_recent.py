"""Values that are remembered for a while."""

from __future__ import annotations

from duebus_server.engine.local.recent import RecentMemory
from hypothesis import given
from hypothesis import strategies as st

WINDOW_US = 10


def test_a_value_is_kept_until_its_time() -> None:
    memory: RecentMemory[str] = RecentMemory()
    memory.remember("key", "value", until_us=100)

    assert memory.get("key", 99) == "value"
    assert memory.knows("key", 99)
    assert memory.get("key", 100) is None
    assert not memory.knows("key", 100)


def test_an_unknown_key_has_no_value() -> None:
    memory: RecentMemory[str] = RecentMemory()

    assert memory.get("key", 0) is None
    assert not memory.knows("key", 0)


def test_none_can_be_remembered() -> None:
    memory: RecentMemory[None] = RecentMemory()
    memory.remember("key", None, until_us=100)

    assert memory.knows("key", 0)


def test_a_known_key_gets_the_newer_value_and_its_time() -> None:
    memory: RecentMemory[str] = RecentMemory()
    memory.remember("key", "old", until_us=100)
    memory.remember("other", "value", until_us=110)
    memory.remember("key", "new", until_us=120)

    memory.forget_before(115)

    assert memory.get("key", 115) == "new"
    assert len(memory) == 1


def test_expired_values_take_no_room_once_they_are_dropped() -> None:
    memory: RecentMemory[int] = RecentMemory()
    for nth in range(1_000):
        memory.remember(f"key-{nth}", nth, until_us=nth)

    memory.forget_before(989)

    assert len(memory) == 10
    assert memory.get("key-990", 989) == 990
    memory.forget_before(10_000)
    assert len(memory) == 0


@given(steps=st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 6), st.booleans()), max_size=40))
def test_it_behaves_like_a_dict_of_times(steps: list[tuple[str, int, bool]]) -> None:
    memory: RecentMemory[int] = RecentMemory()
    expected: dict[str, tuple[int, int]] = {}
    now_us = 0
    for nth, (key, wait_us, forget) in enumerate(steps):
        now_us += wait_us
        memory.remember(key, nth, now_us + WINDOW_US)
        expected[key] = (now_us + WINDOW_US, nth)
        if forget:
            memory.forget_before(now_us)
            assert len(memory) == sum(until_us > now_us for until_us, _ in expected.values())
        for one in "abcd":
            until_us, value = expected.get(one, (0, -1))
            assert memory.get(one, now_us) == (value if until_us > now_us else None)


def test_values_can_be_dropped_before_they_expire() -> None:
    memory: RecentMemory[int] = RecentMemory()
    for nth in range(5):
        memory.remember(str(nth), nth, WINDOW_US)

    memory.forget_some(3)
    assert len(memory) == 2
    memory.forget_some(3)
    assert len(memory) == 0
