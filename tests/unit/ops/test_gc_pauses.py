"""Full garbage collections examine only new objects, and still find the garbage among them."""

from __future__ import annotations

import gc
import sys
import weakref
from typing import TYPE_CHECKING

import pytest
from duebus_server.ops import gc_pauses
from duebus_server.ops.gc_pauses import PauseKeeper

if TYPE_CHECKING:
    from collections.abc import Iterator


class Node:
    """Something that can refer to itself."""

    def __init__(self) -> None:
        self.itself = self


@pytest.fixture
def keeper() -> Iterator[PauseKeeper]:
    installed = PauseKeeper()
    installed.install()
    yield installed
    installed.uninstall()


def test_objects_that_survive_a_full_collection_are_set_aside(keeper: PauseKeeper) -> None:
    kept = [Node() for _ in range(1_000)]
    gc.collect()
    more = [Node() for _ in range(1_000)]
    gc.collect()

    examined = set(map(id, gc.get_objects()))
    assert examined.isdisjoint(map(id, [*kept, *more]))


def test_a_cycle_that_becomes_garbage_before_the_next_collection_is_found(keeper: PauseKeeper) -> None:
    node = Node()
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None


def test_objects_that_were_set_aside_are_freed_when_nothing_refers_to_them(keeper: PauseKeeper) -> None:
    node = Node()
    gc.collect()
    gone = weakref.ref(node)
    node.itself = None  # type: ignore[assignment]  # the cycle is broken
    del node
    assert gone() is None


def test_sometimes_a_collection_examines_everything(keeper: PauseKeeper, monkeypatch: pytest.MonkeyPatch) -> None:
    node = Node()
    gone = weakref.ref(node)
    gc.collect()
    del node
    gc.collect()
    assert gone() is not None, "it was set aside"

    monkeypatch.setattr(gc_pauses, "THAW_S", 0.0)
    gc.collect()
    assert gone() is None


def test_everything_is_examined_when_most_of_the_memory_is_released(keeper: PauseKeeper) -> None:
    events = [bytes(200) for _ in range(sys.getallocatedblocks() * 2)]
    node = Node()
    gone = weakref.ref(node)
    gc.collect()
    del node
    keeper.check()
    gc.collect()
    assert gone() is not None, "it was set aside"

    del events[len(events) // 2 :]
    keeper.check()
    assert gone() is not None, "too much is left"

    events.clear()
    keeper.check()
    assert gone() is None
