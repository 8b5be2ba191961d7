"""A pytest plugin: distributes the suite over the workers of pytest-xdist, and prints its progress."""

from __future__ import annotations

import faulthandler
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from xdist.scheduler import LoadScopeScheduling

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

ALONE = "alone"
"""The unit that runs last, when no other test does."""

ALONE_FILES = {
    "tests/wire/test_timing.py",  # measures how late deliveries come
    "tests/wire/test_vanished_worker.py",  # measures how soon another worker gets the events
    "tests/fault/test_rolling.py",  # measures the longest gap between deliveries
}

LONGEST = (
    "tests/conformance (rust)",
    "tests/conformance (java)",
    "tests/conformance (go)",
    "tests/wire/test_half_open.py",
    "tests/conformance (typescript)",
    "tests/fault/test_chaos.py",
    "tests/conformance (python)",
    "tests/fault/test_schedules.py",
    "tests/outbox/test_relay.py",
    "tests/helm",
    "tests/redis_engine/test_cluster.py",
    "tests/web/test_dashboard.py",
    "tests/bench/test_scenarios.py",
    "tests/wire/test_unauthenticated_peers.py",
    "tests/redis_engine/test_processes.py",
    "tests/image/test_build.py",
    "tests/package/test_wheel.py",
    "tests/property/test_engine_machine.py",
)
"""The units that take longest run first, so that no worker is left with one of them at the end."""

TEARDOWN_TIMEOUT_S = int(os.environ.get("DUEBUS_TEARDOWN_TIMEOUT_S", "120"))

LANGUAGE = re.compile(r"tests/(?:conformance/|package/test_clients\.py).*\[(\w+)")
"""The first parameter of the tests of a client's language."""

CHART = ("tests/helm/", "tests/package/test_chart.py")
"""The tests that need helm."""


def unit_of(nodeid: str) -> str:
    """The unit of a test, which runs on one worker, one test after the other: usually its file.

    The tests of a language share its builds and results, packing its client included, and those of the chart share
    helm and what it rendered.
    """
    file = nodeid.partition("::")[0]
    if file in ALONE_FILES:
        return ALONE
    if language := LANGUAGE.match(nodeid):
        return f"tests/conformance ({language[1]})"
    return "tests/helm" if file.startswith(CHART) else file


def pytest_xdist_auto_num_workers() -> int:
    """Three more than there are processors, because many tests wait."""
    return len(os.sched_getaffinity(0)) + 3


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduler:
    """Regardless of ``--dist``."""
    config.option.loadscopereorder = False  # items are in order
    return Scheduler(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts the units in the order in which they are handed out."""
    order = {unit: index for index, unit in enumerate((*LONGEST, "", ALONE))}
    items.sort(key=lambda item: order.get(unit_of(item.nodeid), order[""]))


def pytest_sessionstart(session: pytest.Session) -> None:
    """Lines of progress, unless ``-v`` prints a line for each test."""
    options = session.config.option
    terminal = session.config.pluginmanager.getplugin("terminalreporter")
    if options.dist != "no" and options.verbose <= 0 and terminal is not None:
        session.config.pluginmanager.register(Progress(terminal))


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """A test's output may contain lone surrogates, which pytest-xdist can't send."""
    return _sendable((yield))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Generator[None]:
    """A teardown that hangs ends its process. The other tests go on in a new one.

    A test's timeout ends it once. When its call has used that up, an event loop may still wait for a thread forever.
    """
    faulthandler.dump_traceback_later(TEARDOWN_TIMEOUT_S, exit=True)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def _sendable(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode(errors="backslashreplace").decode()
    if isinstance(value, dict):
        return {name: _sendable(each) for name, each in value.items()}
    return type(value)(map(_sendable, value)) if isinstance(value, list | tuple) else value


class Scheduler(LoadScopeScheduling):
    """Hands out units in order, and ALONE when a single worker is left.

    A worker begins a test when it knows the next one, so the last worker keeps one until the others have ended.
    """

    def _split_scope(self, nodeid: str) -> str:
        return unit_of(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        if next(iter(self.workqueue)) != ALONE or self.nodes == [node]:
            super()._assign_work_unit(node)
        elif not all(other.shutting_down for other in self.nodes if other is not node):
            node.shutdown()  # it finishes the tests that it has

    def remove_node(self, node: WorkerController) -> str | None:
        """A worker has ended. The test at which it crashed, if any, is not run again; those behind it are."""
        units = self.assigned_work.pop(node)
        crashed = next((test for unit in units.values() for test, is_done in unit.items() if not is_done), None)
        for name, unit in units.items():
            if crashed in unit:
                unit[crashed] = True
            if not all(unit.values()):
                self.workqueue[name] = unit
                self.workqueue.move_to_end(name, last=False)
        for other in self.nodes:
            self._reschedule(other)
        return crashed


class Progress:
    """Prints a line when a unit has ended, and one for each test that fails."""

    def __init__(self, terminal: Any) -> None:
        self._terminal = terminal
        self._sizes: Counter[str] = Counter()
        self._ended: Counter[str] = Counter()
        self._milliseconds: Counter[str] = Counter()

    def pytest_xdist_node_collection_finished(self, ids: Sequence[str]) -> None:
        """Every worker collects all tests."""
        self._sizes = Counter(map(unit_of, ids))

    @pytest.hookimpl(wrapper=True)
    def pytest_report_teststatus(self) -> Generator[None, tuple[str, str, str], tuple[str, str, str]]:
        """Counts a test as usual, without printing a dot or letter."""
        category, *_ = yield
        return category, "", ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's setup, call or teardown has ended."""
        unit = unit_of(report.nodeid)
        self._milliseconds[unit] += round(report.duration * 1000)
        if report.failed:
            self._terminal.write_line(f"FAILED {report.nodeid} ({report.when})", red=True)
        if report.when == "teardown":
            self._end_test(unit)

    def _end_test(self, unit: str) -> None:
        self._ended[unit] += 1
        if self._ended[unit] == self._sizes[unit]:
            share = self._ended.total() * 100 // self._sizes.total()
            tests = "1 test" if self._sizes[unit] == 1 else f"{self._sizes[unit]} tests"
            self._terminal.write_line(f"[{share:3}%] {unit}: {tests}, {self._milliseconds[unit] / 1000:.1f} s")
