"""Carries out cases, several at a time: most of what a case does is wait."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from conformance.link import Link
from conformance.stand_in import StandIn
from conformance.story import Story

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
    """The runs of one language after another.

    Args:
        servers: by their default engine.
        security: what expired links show, and what each case finds given.
    """

    def __init__(self, drivers: Drivers, servers: dict[str, Servers], security: Security) -> None:
        self._drivers = drivers
        self._servers = servers
        self._expired = security.expired
        self._names = security.names()
        self._pool = ThreadPoolExecutor(AT_A_TIME)
        self._futures: dict[tuple[str, str, str], Future[None]] = {}

    def begin(self, language: Language, runs: Iterable[Run]) -> None:
        """Begins with a language, once no other is under way.

        Raises:
            pytest's outcomes: its driver can't be built or run.
        """
        self._drivers.get(language)
        for run in runs:
            key = (language.name, run.engine, run.case.name)
            self._futures[key] = self._pool.submit(self._carry_out, language, run)

    def begun(self, language: Language, run: Run) -> bool:
        """Whether its outcome is known, or will be."""
        return (language.name, run.engine, run.case.name) in self._futures

    def outcome(self, language: Language, run: Run) -> None:
        """Returns when the run has ended well, and raises what went wrong."""
        self._futures[language.name, run.engine, run.case.name].result()

    def close(self) -> None:
        """Begins nothing any more, and waits for what is under way."""
        self._pool.shutdown(cancel_futures=True)

    def _carry_out(self, language: Language, run: Run) -> None:
        driver = self._drivers.get(language)
        page = driver.page
        with ExitStack() as stack:
            server = self._server(run, stack)
            link = self._link(run.case, server, stack)
            target = _target(run.case, server, link, stack)
            story = Story(driver, server, run.engine, link=link, target=target, names=self._names)
            try:
                story.run(run.case.steps, connect=run.case.connect)
            except BaseException as error:
                error.add_note(driver.last_words(page))
                self._drivers.discard(driver)
                raise

    def _server(self, run: Run, stack: ExitStack) -> Server:
        """The case's own server, or one that cases share."""
        servers = self._servers[run.engine]
        server = servers.get(run.case.server)
        if servers.is_own(run.case.server):
            stack.callback(server.close)
        return server

    def _link(self, case: Case, server: Server, stack: ExitStack) -> Link | None:
        """What is between the case's clients and its server."""
        if not case.link:
            return None
        link = Link(server.address, self._expired if case.link == "expired" else None)
        stack.callback(link.close)
        return link


def _target(case: Case, server: Server, link: Link | None, stack: ExitStack) -> str:
    """What the case's clients connect to."""
    if case.stand_in is not None:
        stand_in = StandIn(case.stand_in)
        stack.callback(stand_in.close)
        return stand_in.address
    return server.address if link is None else link.address
