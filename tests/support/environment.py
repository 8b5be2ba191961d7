"""The environment of programs that tests start."""

from __future__ import annotations

import os


def environment() -> dict[str, str]:
    """A copy of this process's environment, in which a variable may vanish meanwhile: pytest sets and removes
    PYTEST_CURRENT_TEST while other threads start programs.
    """
    return {name: value for name in list(os.environ) if (value := os.environ.get(name)) is not None}
