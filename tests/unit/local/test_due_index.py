"""The index by time, compared with a sorted list."""

from __future__ import annotations

from bisect import insort

import pytest
from duebus_server.engine.local import due_index
from duebus_server.engine.local.due_index import DueIndex, sort_key
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

Key = tuple[int, int]

times = st.integers(0, 6)  # few values, so that many are equal
seqs = st.integers(0, 10_000)


class IndexMachine(RuleBasedStateMachine):
    """An index whose items are their own keys, and the sorted list of them."""

    def __init__(self) -> None:
        super().__init__()
        self.index: DueIndex[Key] = DueIndex()
        self.expected: list[Key] = []

    @rule(at_us=times, seq=seqs)
    def add(self, at_us: int, seq: int) -> None:
        if (at_us, seq) not in self.expected:
            self.index.add(sort_key(at_us, seq), (at_us, seq))
            insort(self.expected, (at_us, seq))

    @rule(first_seq=seqs, at_us=times, count=st.integers(1, 12))
    def add_many(self, first_seq: int, at_us: int, count: int) -> None:
        for seq in range(first_seq, first_seq + count):
            self.add(at_us, seq)

    @precondition(lambda self: self.expected)
    @rule(data=st.data(), count=st.integers(1, 8))
    def remove(self, data: st.DataObject, count: int) -> None:
        position = data.draw(st.integers(0, len(self.expected) - 1))
        for key in self.expected[position : position + count]:
            self.index.remove(sort_key(*key))
        del self.expected[position : position + count]

    @rule(data=st.data(), at_us=times)
    def add_all(self, data: st.DataObject, at_us: int) -> None:
        fresh = [
            seq for seq in data.draw(st.lists(seqs, max_size=12, unique=True)) if (at_us, seq) not in self.expected
        ]
        self.index.add_all([sort_key(at_us, seq) for seq in fresh], [(at_us, seq) for seq in fresh])
        self.expected = sorted([*self.expected, *((at_us, seq) for seq in fresh)])

    @rule(until_us=times, limit=st.integers(0, 12))
    def until(self, until_us: int, limit: int) -> None:
        due = [key for key in self.expected if key[0] <= until_us]
        assert self.index.until(until_us, limit) == due[:limit]

    @rule(first_seq=seqs, count=st.integers(1, 12))
    def add_a_run_behind_all(self, first_seq: int, count: int) -> None:
        at_us = self.expected[-1][0] + 1 if self.expected else 0
        run = [(at_us, seq) for seq in range(first_seq, first_seq + count)]
        self.index.add_all([sort_key(*key) for key in run], run)
        self.expected += run

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def remove_all(self, data: st.DataObject) -> None:
        gone = data.draw(st.lists(st.sampled_from(self.expected), max_size=20, unique=True))
        self.index.remove_all([sort_key(*key) for key in gone])
        self.expected = [key for key in self.expected if key not in gone]

    @rule(count=st.integers(0, 12))
    def take_first(self, count: int) -> None:
        assert self.index.take_first(count) == self.expected[:count]
        del self.expected[:count]

    @rule(at_us=times, seq=seqs)
    def remove_what_is_not_there(self, at_us: int, seq: int) -> None:
        if (at_us, seq) not in self.expected:
            with pytest.raises(KeyError):
                self.index.remove(sort_key(at_us, seq))

    @rule(at_us=st.integers(-1, 7), seq=seqs)
    def read_from_anywhere(self, at_us: int, seq: int) -> None:
        after = [key for key in self.expected if key > (at_us, seq)]
        before = [key for key in self.expected if key < (at_us, seq)]
        assert [item for _, _, item in self.index.ascending((at_us, seq))] == after
        assert [item for _, _, item in self.index.descending((at_us, seq))] == before[::-1]

    @precondition(lambda self: self.expected)
    @rule(data=st.data())
    def read_from_an_item(self, data: st.DataObject) -> None:
        self.read_from_anywhere(*data.draw(st.sampled_from(self.expected)))

    @invariant()
    def holds_what_it_should(self) -> None:
        assert len(self.index) == len(self.expected)
        assert self.index.first() == ((self.expected[0][0], self.expected[0]) if self.expected else None)
        assert list(self.index) == self.expected
        assert list(self.index.ascending()) == [(*key, key) for key in self.expected]
        assert list(self.index.descending()) == [(*key, key) for key in self.expected[::-1]]


@pytest.mark.parametrize("block_size", [1, 2, 5, due_index.BLOCK_SIZE])
def test_it_behaves_like_a_sorted_list(monkeypatch: pytest.MonkeyPatch, block_size: int) -> None:
    """Small blocks split and vanish often."""
    monkeypatch.setattr(due_index, "BLOCK_SIZE", block_size)
    run_state_machine_as_test(
        IndexMachine, settings=settings(max_examples=settings().max_examples // 4, stateful_step_count=50)
    )


@settings(max_examples=20)
@given(order=st.permutations(range(60)))
def test_thousands_go_in_and_out_in_any_order(order: list[int]) -> None:
    """6,000 keys need more than one block of the real size."""
    index: DueIndex[int] = DueIndex()
    for run in order:
        for nth in range(100):
            index.add(sort_key(run, nth), run * 100 + nth)
    assert [item for _, _, item in index.ascending()] == list(range(6_000))

    for run in reversed(order):
        for nth in range(0, 100, 2):
            index.remove(sort_key(run, nth))
    assert [item for _, _, item in index.ascending()] == list(range(1, 6_000, 2))
    assert len(index) == 3_000


def test_items_are_never_compared() -> None:
    """Events have no order: the time and the sequence number decide."""
    index: DueIndex[object] = DueIndex()
    items = [object() for _ in range(3_000)]
    for seq, item in enumerate(items):
        index.add(sort_key(7, seq), item)

    assert [item for _, _, item in index.ascending()] == items
    assert index.first() == (7, items[0])
    for seq in range(3_000):
        index.remove(sort_key(7, seq))
    assert index.first() is None


def test_a_key_that_is_missing_between_others_is_noticed() -> None:
    index: DueIndex[int] = DueIndex()
    index.add_all([sort_key(1, seq) for seq in (1, 2, 4)], [1, 2, 4])

    with pytest.raises(KeyError):
        index.remove_all([sort_key(1, seq) for seq in (1, 3, 4)])

    assert 2 in index


def test_an_emptied_index_stays_usable() -> None:
    index: DueIndex[str] = DueIndex()
    assert (len(index), index.first(), list(index.ascending()), list(index.descending())) == (0, None, [], [])
    assert list(index.ascending((5, 5))) == list(index.descending((5, 5))) == []
    with pytest.raises(KeyError):
        index.remove(sort_key(1, 1))

    index.add(sort_key(1, 1), "a")
    index.remove(sort_key(1, 1))
    index.add(sort_key(2, 2), "b")

    assert index.first() == (2, "b")


def test_it_is_emptied_block_by_block_from_the_end() -> None:
    index: DueIndex[int] = DueIndex()
    for at_us in range(5_000):
        index.add(sort_key(at_us, at_us), at_us)

    taken: list[int] = []
    while block := index.pop_block():
        assert len(block) <= 1_024
        taken = [*block, *taken]
        assert len(index) == 5_000 - len(taken)
        assert list(index.ascending())[-1:] == [(each, each, each) for each in [4_999 - len(taken)] if each >= 0]

    assert taken == list(range(5_000))
    assert (len(index), index.first()) == (0, None)
