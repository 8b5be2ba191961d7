"""Runs cases, several at a time, because a case mostly waits."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from conformance.case_runner import CaseRunner
from conformance.link import Link
from conformance.stub_server import StubServer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from conformance.cases import Case
    from conformance.drivers import Drivers
    from conformance.languages import Language
    from conformance.security import Security
    from conformance.servers import Server, Servers

AT_A_TIME = 6


class Run(NamedTuple):
    """A case on an engine."""

    engine: str
    case: Case


class Runs:
    """The runs of all languages.

    Args:
        servers: by their default engine.
        security: the certificates of expired links, and the predefined names of each case.
    """

    def __init__(self, drivers: Drivers, servers: dict[str, Servers], security: Security) -> None:
        self._drivers = drivers
        self._servers = servers
        self._expired = security.expired
        self._names = security.names()
        self._pool = ThreadPoolExecutor(AT_A_TIME)
        self._futures: dict[tuple[str, str, str], Future[None]] = {}

    def begin(self, language: Language, runs: Iterable[Run]) -> None:
        """Start the runs of a language.

        Raises:
            pytest's outcomes: its driver can't be built or run.
        """
        self._drivers.get(language)
        for run in runs:
            key = (language.name, run.engine, run.case.name)
            self._futures[key] = self._pool.submit(self._carry_out, language, run)

    def begun(self, language: Language, run: Run) -> bool:
        """Whether the run was started."""
        return (language.name, run.engine, run.case.name) in self._futures

    def outcome(self, language: Language, run: Run) -> None:
        """Return when the run has passed; raise its error if it failed."""
        self._futures[language.name, run.engine, run.case.name].result()

    def close(self) -> None:
        """Start no more runs, and wait for those that are running."""
        self._pool.shutdown(cancel_futures=True)

    def _carry_out(self, language: Language, run: Run) -> None:
        driver = self._drivers.get(language)
        page = driver.page
        with ExitStack() as stack:
            server = self._server(run, stack)
            link = self._link(run.case, server, stack)
            stub = _stub(run.case, stack)
            target = (stub or link or server).address
            runner = CaseRunner(driver, server, run.engine, link=link, stub=stub, target=target, names=self._names)
            try:
                runner.run(run.case.steps, connect=run.case.connect)
            except BaseException as error:
                error.add_note(driver.log_tail(page))
                self._drivers.discard(driver)
                raise

    def _server(self, run: Run, stack: ExitStack) -> Server:
        """The case's own server, or a shared one."""
        servers = self._servers[run.engine]
        server = servers.get(run.case.server)
        if servers.is_own(run.case.server):
            stack.callback(server.close)
        return server

    def _link(self, case: Case, server: Server, stack: ExitStack) -> Link | None:
        """The proxy between the case's clients and its server, if the case has one."""
        if not case.link:
            return None
        link = Link(server.address, self._expired if case.link == "expired" else None)
        stack.callback(link.close)
        return link


def _stub(case: Case, stack: ExitStack) -> StubServer | None:
    """The stub server that the case's clients connect to; None if they connect to a real one."""
    if case.stub is None:
        return None
    stub = StubServer(case.stub)
    stack.callback(stub.close)
    return stub
