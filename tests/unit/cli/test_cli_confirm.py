"""The question before what can't be undone; `tests/wire/test_cli_terminal.py` has what a user sees."""

from __future__ import annotations

import os
import signal
import sys
import threading

import pytest
from duebus.cli.confirm import confirm

SIGNAL_TIMEOUT_S = 30


def test_ctrl_c_just_before_the_answer_is_read_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread takes the signal here, so that it interrupts no read, as one that comes just before a read."""
    keyboard, terminal = os.openpty()
    noticed, typed = threading.Event(), threading.Event()

    def press() -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        assert os.read(keyboard, 100).endswith(b"? [y/N] ")
        os.kill(os.getpid(), signal.SIGINT)
        if not noticed.wait(SIGNAL_TIMEOUT_S):
            typed.set()
            os.write(keyboard, b"n\n")

    with open(terminal, "r+b", buffering=0) as device:  # noqa: PTH123  # a descriptor
        monkeypatch.setattr(sys, "stdin", os.fdopen(os.dup(device.fileno()), "r"))
        monkeypatch.setattr(sys, "stderr", os.fdopen(os.dup(device.fileno()), "w"))
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        pressing = threading.Thread(target=press)
        pressing.start()
        try:
            with pytest.raises(KeyboardInterrupt):
                confirm("delete all")
            noticed.set()
        finally:
            pressing.join()
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            sys.stdin.close()
            sys.stderr.close()
    os.close(keyboard)
    assert not typed.is_set()
