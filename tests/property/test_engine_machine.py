"""Every engine against the model, step by step at random."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis.stateful import run_state_machine_as_test as run_machine
from property.operated_machine import OperatedMachine
from support.harnesses import ENGINES, opener

COST = {"redis": 7}
"""How much longer a step takes where the engine is asked over a socket; it gets fewer examples in the same time."""

WITHOUT_A_MODEL = ("spread",)
"""The model has one order of delivery and one limit; a topic over several partitions has them in each of them."""


@pytest.mark.timeout(1_800)  # what the longest search takes
@pytest.mark.parametrize("engine", [engine for engine in ENGINES if engine not in WITHOUT_A_MODEL])
def test_an_engine_does_what_the_model_does(engine: str) -> None:
    class Machine(OperatedMachine):
        open_harness = staticmethod(opener(engine))

    examples = settings().max_examples // COST.get(engine, 1)
    run_machine(Machine, settings=settings(max_examples=examples, stateful_step_count=60))
