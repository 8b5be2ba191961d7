"""Every engine against the model, step by step at random."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test as run_machine
from property.operated_machine import OperatedMachine
from support.harnesses import ENGINES, opener

COST = {"journal": 3, "redis": 7, "partitioned": 14}
"""How much longer a step takes on an engine behind a socket or a disk, which gets fewer examples in the same time."""


@pytest.mark.timeout(1_800)  # the longest search takes this long
@pytest.mark.parametrize("engine", ENGINES)
def test_an_engine_does_what_the_model_does(engine: str) -> None:
    class Machine(OperatedMachine):
        open_harness = staticmethod(opener(engine))

    examples = settings().max_examples // COST.get(engine, 1)
    run_machine(Machine, settings=settings(max_examples=examples, stateful_step_count=60))
