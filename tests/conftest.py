"""For all suites: helpers whose asserts explain themselves, how long Hypothesis searches, workers, and Ctrl-C."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

pytest_plugins = ("support.parallel",)
pytest.register_assert_rewrite("support")

# The same examples every time, so that a run's result depends on nothing but the code.
settings.register_profile("steady", derandomize=True, deadline=None, print_blob=True)
# Others every time, and many more: `HYPOTHESIS_PROFILE=chaos make test ARGS=tests/property`.
settings.register_profile(
    "chaos", max_examples=2_000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))


def pytest_configure() -> None:
    """What starts the suite may ignore SIGINT, as a shell does in the background, but the tests' children must not.

    They would inherit that it is ignored, but not that a handler does nothing.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, lambda *_: None)
