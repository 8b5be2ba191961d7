"""Ids in Redis: packed, and unchanged when unpacked."""

from __future__ import annotations

from itertools import pairwise

import pytest
from duebus_server.domain.event_ids import EventIds
from duebus_server.engine.redis.codec.ids import pack_id, pack_ids, unpack_id, unpack_ids
from hypothesis import given
from hypothesis import strategies as st

NOW_US = 1_795_470_958_203_782


@pytest.mark.parametrize(
    ("event_id", "size"),
    [
        ("01a209ac-dfcb-7000-8000-000000000000", 14),
        ("01a209ac-dfcb-7fff-800f-ffffffffffff", 14),
        ("1fffffff-ffff-7abc-8001-0123456789ab", 14),
        ("20000000-0000-7abc-8001-0123456789ab", 17),  # would begin as printable ids do
        ("00ffffff-ffff-7abc-8001-0123456789ab", 17),  # would begin as other UUIDs do
        ("01a209ac-dfcb-4abc-8001-0123456789ab", 17),
        ("01a209ac-dfcb-7abc-8011-0123456789ab", 17),
        ("01a209ac-dfcb-7abc-9001-0123456789ab", 17),
        ("01A209AC-dfcb-7abc-8001-0123456789ab", 36),
        ("fourteen chars", 14),
        ("é", 2),
    ],
)
def test_an_id_is_packed_as_short_as_possible_and_unpacked_unchanged(event_id: str, size: int) -> None:
    packed = pack_id(event_id)
    assert (unpack_id(packed), len(packed)) == (event_id, size)


@pytest.mark.parametrize("request_id", ["", "a request"])
def test_the_ids_that_the_bus_makes_take_14_bytes(request_id: str) -> None:
    made = EventIds(NOW_US, request_id)
    for index in (0, 1, 999, 4095):
        packed = pack_id(made.at(index))
        assert (unpack_id(packed), len(packed)) == (made.at(index), 14)


MADE = [EventIds(NOW_US, "a request").at(index) for index in range(1_000)]
ODD = [
    "20000000-0000-7abc-8001-0123456789ab",
    "00ffffff-ffff-7abc-8001-0123456789ab",
    "01a209ac-dfcb-4abc-8001-0123456789ab",
    "01a209ac-dfcb-7abc-8011-0123456789ab",
    "01A209AC-dfcb-7abc-8001-0123456789ab",
    "01a209ac-dfcb-7abc-8001-0123456789ag",
    "01a209acddfcb-7abc-8001-0123456789ab",
    "01a209ac-dfcb-7abc-8001-0123456789a",
    "01a209ac-dfcb-7abc-8001-0123456789abc",
    "01a209ac-dfcb-7abc-8001-0123456789é",
    "fourteen chars",
    "é",
]


def test_a_batch_of_generated_ids_is_packed_like_each_of_them() -> None:
    packed = pack_ids(MADE)
    assert packed == [pack_id(event_id) for event_id in MADE]
    assert unpack_ids(packed) == MADE


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("at", [0, 7, 19])
def test_a_chosen_id_in_a_batch_does_not_affect_the_others(odd: str, at: int) -> None:
    batch = [*MADE[:at], odd, *MADE[at:20]]
    packed = pack_ids(batch)
    assert packed == [pack_id(event_id) for event_id in batch]
    assert unpack_ids(packed) == batch


def test_ids_that_look_like_others_only_when_put_together_are_told_apart() -> None:
    text = "".join(MADE[:10])
    cuts = [0, 35, *range(72, len(text) + 1, 36)]
    batch = [text[start:end] for start, end in pairwise(cuts)]
    packed = pack_ids(batch)
    assert packed == [pack_id(event_id) for event_id in batch]
    assert unpack_ids(packed) == batch


def test_stored_ids_that_look_like_others_only_when_put_together_are_told_apart() -> None:
    stored = b"".join(pack_ids(MADE[:10]))
    cuts = [0, 13, *range(28, len(stored) + 1, 14)]
    batch = [stored[start:end] for start, end in pairwise(cuts)]
    assert unpack_ids(batch) == [unpack_id(one) for one in batch]


@given(st.lists(st.sampled_from([*MADE[:3], *ODD]) | st.text(min_size=1, max_size=40), max_size=30))
def test_any_batch_is_packed_like_each_of_its_ids(batch: list[str]) -> None:
    packed = [pack_id(event_id) for event_id in batch]
    assert pack_ids(batch) == packed
    assert unpack_ids(packed) == [unpack_id(one) for one in packed]
