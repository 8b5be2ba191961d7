"""A forked program behaves as if it were started: arguments, environment, folder, streams, signals, exit status."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from support.forking import Forked

if TYPE_CHECKING:
    from pathlib import Path

PIPE = subprocess.PIPE

REPORTS = """
import json, os, sys
print(json.dumps([sys.argv[1:], sys.stdin.read(), os.environ.get("WHO"), os.getcwd(), __name__, os.getpgid(0)]))
print("trouble", file=sys.stderr)
sys.exit(7)
"""

WAITS = """
import sys, threading
try:
    print("waits", flush=True)
    threading.Event().wait()
except KeyboardInterrupt:
    sys.exit(3)
"""


@pytest.mark.parametrize("popen", [Forked, subprocess.Popen])
def test_it_gets_its_arguments_and_environment_and_its_exit_status_is_returned(
    popen: type[subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "reports.py").write_text(REPORTS)
    command = [sys.executable, "-m", "reports", "a", "b c"]
    env = {**os.environ, "WHO": "me"}
    with popen(command, stdin=PIPE, stdout=PIPE, stderr=PIPE, text=True, env=env, cwd=tmp_path, process_group=0) as one:
        out, err = one.communicate("typed", timeout=180)
    assert out == f'[["a", "b c"], "typed", "me", "{tmp_path}", "__main__", {one.pid}]\n'
    assert (err, one.returncode) == ("trouble\n", 7)


@pytest.mark.parametrize("popen", [Forked, subprocess.Popen])
@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 3), (signal.SIGTERM, -15), (signal.SIGKILL, -9)])
def test_a_signal_ends_it(popen: type[subprocess.Popen[str]], number: int, status: int, tmp_path: Path) -> None:
    script = tmp_path / "waits.py"
    script.write_text(WAITS)
    with popen([sys.executable, script], stdout=PIPE, text=True) as one:
        assert one.stdout is not None
        assert one.stdout.readline() == "waits\n"
        assert one.poll() is None
        with pytest.raises(subprocess.TimeoutExpired):
            one.wait(0.01)
        one.send_signal(number)
        assert one.wait(60) == status
