"""Gives processes a fixed share of one core, by a CPU quota of Linux's control groups (version 2 or 1). Needs root."""

from __future__ import annotations

import errno
import os
import time
from itertools import count
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
QUOTA_US = 1_000
"""The least that the kernel takes. The period follows from it, and is as short as can be: Redis pauses for it."""
END_TIMEOUT_S = 5.0

_numbers = count()


class QuotaError(Exception):
    """This machine grants no CPU quota. The message is one line that says why."""


class CpuQuota:
    """A control group. Its processes together get a share of one core and no more, and get it before others.

    Args:
        share: above 0, at most 1.
        root: where the control groups of the machine are.

    Raises:
        QuotaError: no such group can be made.
    """

    def __init__(self, share: float, root: Path = CGROUPS) -> None:
        parent, self._is_v2 = _cpu_controller(root)
        self._group = parent / f"duebus-bench-{os.getpid()}-{next(_numbers)}"
        period_us = round(QUOTA_US / share)
        settings = (
            {"cpu.max": f"{QUOTA_US} {period_us}", "cpu.weight": "10000"}
            if self._is_v2
            else {"cpu.cfs_period_us": str(period_us), "cpu.cfs_quota_us": str(QUOTA_US), "cpu.shares": "262144"}
        )
        try:
            self._group.mkdir()
            for name, value in settings.items():
                (self._group / name).write_text(value)
        except OSError as error:
            raise QuotaError(f"a CPU quota can't be set below {parent}: {error.strerror} (it takes root)") from error

    def add(self, pid: int) -> None:
        """Hold a process, with all its threads, to the share."""
        (self._group / "cgroup.procs").write_text(str(pid))

    def close(self) -> None:
        """Remove the group. Its processes must have ended; the kernel may notice that a moment later."""
        deadline = time.monotonic() + END_TIMEOUT_S
        while True:
            try:
                self._group.rmdir()
            except OSError as error:
                if error.errno != errno.EBUSY or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)  # nothing signals it
            else:
                return


def _cpu_controller(root: Path) -> tuple[Path, bool]:
    """The group below which quotas can be set, and whether it is of version 2."""
    controllers = root / "cgroup.controllers"
    if controllers.exists() and "cpu" in controllers.read_text().split():
        try:
            (root / "cgroup.subtree_control").write_text("+cpu")
        except OSError as error:
            raise QuotaError(f"a CPU quota can't be set below {root}: {error.strerror} (it takes root)") from error
        return root, True
    if (root / "cpu" / "cpu.cfs_quota_us").exists() or (root / "cpu" / "cgroup.procs").exists():
        return root / "cpu", False
    raise QuotaError(f"no CPU quota can be set: {root} has no control groups with the controller 'cpu'")
