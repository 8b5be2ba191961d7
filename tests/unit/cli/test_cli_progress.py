"""Progress bars on a terminal."""

import threading

import pytest
from duebus.cli import progress
from duebus.errors import Unavailable


@pytest.fixture(autouse=True)
def on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setattr(progress, "_LOOKS_EVERY_S", 0.01)


def test_progress_shows_what_the_server_has_moved(capsys: pytest.CaptureFixture[str]) -> None:
    answers, looked = iter((100, 58)), threading.Event()

    def left() -> int:
        try:
            return next(answers)
        except StopIteration:
            looked.set()
            raise Unavailable("gone") from None  # the call itself reports that

    with progress.moving("redriving orders", 100, left):
        assert looked.wait(10)

    shown = capsys.readouterr().err
    assert "redriving orders" in shown
    assert "42 events" in shown


def test_without_a_terminal_progress_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FORCE_COLOR")

    def left() -> int:
        raise AssertionError("asked")

    with progress.moving("redriving orders", 100, left):
        pass


def test_the_examined_items_are_yielded_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress.looked_at("looking through orders", range(2500))) == list(range(2500))
    assert "2,000 events" in capsys.readouterr().err
