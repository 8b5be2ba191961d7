"""Lease tokens: made by the bus, and accepted by any of its replicas only."""

from __future__ import annotations

import tracemalloc
from sys import getsizeof

import pytest
from duebus_server.domain.lease_token import (
    DIGEST_CHARS,
    MAX_MADE,
    MAX_TOKEN_CHARS,
    GroupLeases,
    LeaseTarget,
    LeaseTokens,
)
from duebus_server.domain.model import EngineName, LeaseRef
from hypothesis import given
from hypothesis import strategies as st

KEY = b"0123456789abcdef"
TOKENS = LeaseTokens({EngineName.LOCAL: KEY})
(TOKEN,) = TOKENS.of_group(EngineName.LOCAL, "order.created", "billing").mint(["order-7"], [42])

names = st.text("AZaz09._-", min_size=1, max_size=20)
event_ids = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=60)


@given(topic=names, group=names, event_id=event_ids, fencing_token=st.integers(1, 2**64 - 1))
def test_a_token_names_its_lease(topic: str, group: str, event_id: str, fencing_token: int) -> None:
    (token,) = TOKENS.of_group(EngineName.LOCAL, topic, group).mint([event_id], [fencing_token])

    assert TOKENS.read(token) == LeaseTarget(EngineName.LOCAL, topic, group, LeaseRef(event_id, fencing_token))


@given(
    groups=st.lists(st.tuples(st.sampled_from(["a", "b"]), st.sampled_from(["x", "y"])) | st.none(), max_size=20),
)
def test_tokens_of_several_groups_are_read_like_single_ones(groups: list[tuple[str, str] | None]) -> None:
    """A token of another bus is read as None."""
    tokens = [
        TOKENS.of_group(EngineName.LOCAL, *group).mint([f"event-{index}"], [index + 1])[0] if group else "nonsense"
        for index, group in enumerate(groups)
    ]

    found, malformed = TOKENS.read_all(tokens)

    assert malformed == [index for index, group in enumerate(groups) if group is None]
    assert len(found) == len({group for group in groups if group})
    for one in found:
        targets = [LeaseTarget(one.engine, one.topic, one.group, lease) for lease in one.leases]
        assert targets == [TOKENS.read(tokens[index]) for index in one.indexes]
    read = [index for one in found for index in one.indexes]
    assert sorted([*read, *malformed]) == list(range(len(tokens)))


@given(
    tokens=st.lists(st.integers(0, 5) | st.just(-1), max_size=20),
    groups=st.lists(st.sampled_from(["a", "b"]), min_size=6, max_size=6),
)
def test_tokens_made_here_are_read_as_another_replica_reads_them(tokens: list[int], groups: list[str]) -> None:
    """In any order, several times, with changed ones between them."""
    here, replica = LeaseTokens({EngineName.LOCAL: KEY}), LeaseTokens({EngineName.LOCAL: KEY})
    made = [here.of_group(EngineName.LOCAL, "t", group).mint([f"e/{i}"], [i + 1])[0] for i, group in enumerate(groups)]
    sent = [made[i] if i >= 0 else f"0{made[0]}" for i in tokens]

    assert here.read_all(sent) == replica.read_all(sent)
    assert here.read_all(made) == replica.read_all(made)


def test_tokens_that_never_come_back_are_forgotten() -> None:
    here = LeaseTokens({EngineName.LOCAL: KEY})
    group = here.of_group(EngineName.LOCAL, "t", "g")
    tracemalloc.start()
    (first,) = group.mint(["first"], [1])
    for i in range(MAX_MADE - 1):
        group.mint([f"{i}"], [i + 1])
    kept_bytes, _ = tracemalloc.get_traced_memory()
    for i in range(3 * MAX_MADE):
        group.mint([f"{i}"], [i + 1])
    _, most_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most_bytes < 1.5 * kept_bytes
    assert here.read(first) == LeaseTarget(EngineName.LOCAL, "t", "g", LeaseRef("first", 1))
    assert here.read_all([first]) == ([GroupLeases(EngineName.LOCAL, "t", "g", [0], [LeaseRef("first", 1)])], [])


def test_not_all_tokens_of_a_large_frame_are_remembered_and_all_are_read() -> None:
    """A window may have room for 100,000 events."""
    here = LeaseTokens({EngineName.LOCAL: KEY})
    group = here.of_group(EngineName.LOCAL, "t", "g")
    ids, fences = [f"{i}" for i in range(3 * MAX_MADE)], list(range(1, 3 * MAX_MADE + 1))
    tracemalloc.start()
    tokens = group.mint(ids[:MAX_MADE], fences[:MAX_MADE])
    kept_bytes, _ = tracemalloc.get_traced_memory()
    del tokens
    tokens = group.mint(ids, fences)
    size = sum(map(getsizeof, tokens)) + getsizeof(tokens)
    all_bytes, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert all_bytes - size < 1.2 * kept_bytes
    [read], malformed = here.read_all(tokens)
    assert (read.leases, malformed) == ([LeaseRef(*each) for each in zip(ids, fences, strict=True)], [])


def test_another_replica_with_the_same_key_reads_it() -> None:
    replica = LeaseTokens({EngineName.LOCAL: KEY, EngineName.REDIS: b"another key"})

    assert replica.read(TOKEN) == TOKENS.read(TOKEN)


def test_the_longest_names_fit() -> None:
    (token,) = TOKENS.of_group(EngineName.LOCAL, "t" * 255, "g" * 255).mint(["\N{SNOWMAN}" * 85], [2**64 - 1])

    assert len(token) <= MAX_TOKEN_CHARS
    assert TOKENS.read(token) is not None


@pytest.mark.parametrize(
    "keys", [{}, {EngineName.LOCAL: b"another key"}, {EngineName.REDIS: KEY}], ids=["none", "other", "other engine"]
)
def test_a_bus_with_another_key_does_not_read_it(keys: dict[EngineName, bytes]) -> None:
    assert LeaseTokens(keys).read(TOKEN) is None


@pytest.mark.parametrize(
    "token",
    [
        "0" * 16 + "local/\ud800/g/1/x",
        "",
        "x",
        "nonsense",
        "ü" * 20,
        "=" * 8,
        "A" * 5_000,
        "\x00",
        TOKEN[:-4],
        TOKEN + "AAAA",
    ],
)
def test_nonsense_is_not_a_token(token: str) -> None:
    assert TOKENS.read(token) is None


@given(index=st.integers(0, len(TOKEN) - 1), other=st.characters())
def test_no_character_of_a_token_can_be_changed(index: int, other: str) -> None:
    changed = TOKEN[:index] + other + TOKEN[index + 1 :]

    assert TOKENS.read(changed) == (TOKENS.read(TOKEN) if changed == TOKEN else None)


@given(digest=st.text(max_size=20), payload=st.text(max_size=200) | st.just(TOKEN[DIGEST_CHARS:]))
def test_no_input_makes_the_reader_fail(digest: str, payload: str) -> None:
    assert digest == TOKEN[:DIGEST_CHARS] or TOKENS.read(digest + payload) is None


@pytest.mark.parametrize("digest", ["\N{SNOWMAN}" * DIGEST_CHARS, "\ud800" * DIGEST_CHARS])
def test_a_digest_that_is_not_ascii_is_refused(digest: str) -> None:
    assert TOKENS.read(digest + TOKEN[DIGEST_CHARS:]) is None
