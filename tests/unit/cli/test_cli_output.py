"""What is printed, for people and for programs."""

import io
import json
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pytest
from duebus import Engine
from duebus.cli.output import Output, clean, payload_json, payload_text
from duebus.cli.records import record_of
from duebus.cli.terminal import rich_table
from rich.console import Console


def test_a_json_payload_is_a_json_value_in_json_output() -> None:
    assert payload_json(b'{"id": 42}', "application/json") == {"data": {"id": 42}}
    assert payload_json(b'{"id": 42}', "application/cloudevents+json") == {"data": {"id": 42}}


def test_text_stays_text_even_if_it_looks_like_json() -> None:
    assert payload_json(b"42", "text/plain; charset=utf-8") == {"data": "42"}


def test_a_payload_with_a_wrong_json_type_is_shown_as_text() -> None:
    assert payload_json(b"{", "application/json") == {"data": "{"}
    assert payload_json(b"NaN", "application/json") == {"data": "NaN"}


def test_bytes_are_base64_in_json_output_and_a_size_for_people() -> None:
    assert payload_json(b"\xff\x00", "image/png") == {"data_base64": "/wA="}
    assert payload_text(b"\xff\x00", "image/png") == "<2 bytes of image/png>"


def test_terminal_control_characters_are_escaped() -> None:
    assert clean("a\x1b[2Jb\nc\u202e") == "a\\x1b[2Jb\\nc\\u202e"
    assert clean("hällo wörld 日本") == "hällo wörld 日本"


def test_a_table_in_a_pipe_is_aligned(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(("ID", "DATA"), [("1", "x" * 300), ("22", "[bold]y")])
    assert capsys.readouterr().out == f"ID  DATA\n1   {'x' * 300}\n22  [bold]y\n"


def test_only_the_data_column_is_truncated_to_the_terminal_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    rows = [("i" * 36, "x" * 300, "e" * 100), ("1", "y", "")]
    Output().table(("ID", "DATA", "ERROR"), rows, cut="DATA")
    first, second, _ = capsys.readouterr().out.splitlines()
    assert first == f"{'ID':36}  {'DATA':20}  ERROR"  # at least 20
    assert second == f"{'i' * 36}  {'x' * 19}…  {'e' * 100}"

    Output().table(("ID", "DATA", "ERROR"), [("1", "x" * 300, "no")], cut="DATA")
    assert max(map(len, capsys.readouterr().out.splitlines())) == 80


def test_on_a_terminal_ids_stay_whole_and_errors_are_folded() -> None:
    console = Console(width=70, file=io.StringIO())
    error = "there is no such card and there never was one"
    console.print(rich_table(("ID", "LAST ERROR"), [("i" * 36, error)], ("LAST ERROR",)))
    lines = [line for line in console.file.getvalue().splitlines() if line.strip()]  # type: ignore[attr-defined]
    assert [line.split()[0] for line in lines[2:]] == ["i" * 36, "there"]
    assert " ".join(" ".join(lines[2:]).split()) == f"{'i' * 36} {error}"


def test_numbers_are_never_cut(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as on a terminal
    monkeypatch.setenv("COLUMNS", "18")
    row = ("a.topic.with.a.name", "100000", "200000", "300000")
    Output().table(("TOPIC", "READY", "LEASED", "DEAD"), [row], folded=("TOPIC",))
    out = capsys.readouterr().out
    assert [number for number in row[1:] if number in out] == ["100000", "200000", "300000"]


def test_records_are_printed_in_json_output_only_and_lines_for_people_only(capsys: pytest.CaptureFixture[str]) -> None:
    for out in (Output(), Output(as_json=True)):
        out.record({"text": "ä"})
        out.line("a line")
        out.table(("A",), [("a",)])
    assert capsys.readouterr().out == 'a line\nA\na\n{"text": "ä"}\n'


@dataclass
class Thing:
    engine: Engine
    lease: timedelta
    at: datetime | None
    age: timedelta | None = None
    parts: tuple["Thing", ...] = ()


def test_a_record_has_times_in_utc_and_durations_in_seconds() -> None:
    part = Thing(Engine.LOCAL, timedelta(milliseconds=1500), None)
    whole = Thing(Engine.REDIS, timedelta(0), datetime(2027, 1, 1, tzinfo=UTC), timedelta(minutes=1), (part,))
    assert json.loads(json.dumps(record_of(whole))) == {
        "engine": "redis",
        "lease_seconds": 0.0,
        "at": "2027-01-01T00:00:00Z",
        "age_seconds": 60.0,
        "parts": [{"engine": "local", "lease_seconds": 1.5, "at": None, "age_seconds": None, "parts": []}],
    }
