"""The list of cases is valid, and the page of results can be read back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from conformance import parity
from conformance.cases import read_suite
from conformance.languages import Language, read_languages
from conformance.parity import Results
from conformance.servers import ENGINES
from duebus.v1 import admin_pb2, error_details_pb2, event_bus_pb2, schedules_pb2

if TYPE_CHECKING:
    from pathlib import Path

SUITE = read_suite()
STEPS = [step for case in SUITE.cases for step in case.steps]


def methods_of(file: Any, service: str) -> set[str]:
    return {method.name for method in file.DESCRIPTOR.services_by_name[service].methods}


def test_every_call_of_the_bus_is_covered() -> None:
    made = {step.verb.title() for step in STEPS}
    assert methods_of(event_bus_pb2, "EventBus") - made == set()


def test_every_call_for_schedules_is_covered() -> None:
    made = {step.verb.removeprefix("schedule.") for step in STEPS if step.verb.startswith("schedule.")}
    methods = methods_of(schedules_pb2, "EventBusSchedules")
    assert {name.removesuffix("s").removesuffix("Schedule").lower() for name in methods} == made


def test_every_admin_call_is_covered() -> None:
    made = {step.argument["method"] for step in STEPS if step.verb == "admin"}
    assert methods_of(admin_pb2, "EventBusAdmin") - made == set()


def test_every_error_reason_is_covered() -> None:
    reasons = {name.removeprefix("ERROR_REASON_") for name in error_details_pb2.ErrorReason.keys()}  # noqa: SIM118
    met = {step.fails["reason"] for step in STEPS if step.fails and isinstance(step.fails["reason"], str)}
    assert reasons - {"UNSPECIFIED"} - met == set()


def test_every_reason_of_a_lease_failure_is_covered() -> None:
    reasons = {name.removeprefix("REASON_").lower() for name in event_bus_pb2.LeaseFailure.Reason.keys()}  # noqa: SIM118
    settles = [step for step in STEPS if step.verb in ("ack", "nack", "extend") and step.gives]
    met = {failure["reason"] for step in settles for failure in step.gives["failures"]}
    assert reasons - {"unspecified"} == met


@pytest.mark.parametrize("language", read_languages())
def test_no_case_is_named_like_a_language_so_that_k_selects_one(language: str) -> None:
    assert [case.slug for case in SUITE.cases if language in case.slug.lower()] == []


@pytest.mark.parametrize(
    ("steps", "complaint"),
    [
        ("[{dance: {}}]", "not a step"),
        ("[{dispatch: {}, ack: {}}]", "not a step"),
        ("[{gives: {}}]", "not a step"),
    ],
)
def test_an_unknown_step_is_refused(tmp_path: Path, steps: str, complaint: str) -> None:
    with pytest.raises(ValueError, match=f"case 'x': {complaint}"):
        read_suite(written(tmp_path, f"{{name: x, steps: {steps}}}"))


def test_an_unknown_field_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="colour"):
        read_suite(written(tmp_path, "{name: x, colour: red, steps: []}"))


def test_two_cases_with_the_same_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cases with the same name"):
        read_suite(written(tmp_path, "{name: x, steps: []}, {name: x, steps: []}"))


def test_an_unknown_server_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such servers"):
        read_suite(written(tmp_path, "{name: x, server: big, steps: []}"))


def test_results_are_written_and_read_back_and_the_others_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parity, "FILE", tmp_path / "page.md")
    languages = {name: Language(name, name.title(), (), (), ()) for name in ("python", "go")}
    first, second, *_ = (case for case in SUITE.cases if case.engines == ENGINES)

    results = Results(languages, SUITE.cases)
    results.note("python", first.name, "local", passed=True)
    results.note("python", first.name, "redis", passed=True)
    results.note("go", first.name, "local", passed=True)
    results.note("go", first.name, "redis", passed=False)
    results.note("go", second.name, "local", passed=True)  # not on every engine
    results.write()
    later = Results(languages, SUITE.cases)
    later.note("python", second.name, "local", passed=True)
    later.note("python", second.name, "redis", passed=True)
    later.write()

    assert later.read() == {
        ("python", first.name): "yes",
        ("go", first.name): "no",
        ("python", second.name): "yes",
    }


def written(folder: Path, cases: str) -> Path:
    file = folder / "cases.yaml"
    file.write_text(f"servers: {{shared: {{}}}}\ncases: {{A section: [{cases}]}}\n")
    return file
