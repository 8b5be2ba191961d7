"""Prometheus's own program that checks rules and metrics."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest


def promtool(*arguments: str | os.PathLike[str], stdin: str = "") -> tuple[int, str]:
    """Run promtool. Without it the test is skipped, or fails in CI.

    Returns:
        The exit status, and all that it printed.
    """
    program = shutil.which("promtool")
    if program is None:
        missing = "promtool is missing: 'make prometheus' installs it"
        if os.environ.get("CI"):
            pytest.fail(missing)
        pytest.skip(missing)
    command = [program, *arguments]
    ran = subprocess.run(command, input=stdin, text=True, capture_output=True, timeout=180, check=False)
    return ran.returncode, ran.stdout + ran.stderr
