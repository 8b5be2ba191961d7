"""Every client passes every case, on every engine that the case is about."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from conformance.cases import Case, read_suite
from conformance.languages import BUILD_TIMEOUT_S, read_languages
from conformance.link import Link
from conformance.stand_in import StandIn
from conformance.story import Story

if TYPE_CHECKING:
    from conformance.drivers import Drivers
    from conformance.parity import Results
    from conformance.servers import Server, Servers
    from support.tls import Certificates

LANGUAGES = read_languages()

# The first test of a language builds its driver. The steps have deadlines of their own.
pytestmark = pytest.mark.timeout(BUILD_TIMEOUT_S + 120)

RUNS = [
    pytest.param(language, engine, case, id=f"{language}-{engine}-{case.slug}")
    for language in LANGUAGES
    for case in read_suite().cases
    for engine in case.engines
]


@pytest.fixture
def names(certificates: Certificates, other_certificates: Certificates) -> dict[str, str]:
    """What each case finds given."""
    return {"ca": certificates.ca.read_text(), "other_ca": other_certificates.ca.read_text()}


@pytest.mark.parametrize(("language", "engine", "case"), RUNS)
def test_case(
    language: str,
    engine: str,
    case: Case,
    drivers: Drivers,
    all_servers: dict[str, Servers],
    certificates: Certificates,
    names: dict[str, str],
    results: Results,
) -> None:
    driver = drivers.get(LANGUAGES[language])
    with ExitStack() as stack:
        server = server_of(case, all_servers[engine], stack)
        link = link_of(case, server, certificates, stack)
        target = target_of(case, server, link, stack)
        try:
            Story(driver, server, engine, link=link, target=target, names=names).run(case.steps, connect=case.connect)
        except BaseException as error:
            results.note(language, case.name, engine, passed=False)
            error.add_note(driver.last_words())
            drivers.discard()
            raise
    results.note(language, case.name, engine, passed=True)


def server_of(case: Case, servers: Servers, stack: ExitStack) -> Server:
    """The case's own server, or one that cases share."""
    server = servers.get(case.server)
    if servers.is_own(case.server):
        stack.callback(server.close)
    return server


def link_of(case: Case, server: Server, certificates: Certificates, stack: ExitStack) -> Link | None:
    """What is between the case's clients and its server."""
    if not case.link:
        return None
    link = Link(server.address, certificates if case.link == "tls" else None)
    stack.callback(link.close)
    return link


def target_of(case: Case, server: Server, link: Link | None, stack: ExitStack) -> str:
    """What the case's clients connect to."""
    if case.stand_in is not None:
        stand_in = StandIn(case.stand_in)
        stack.callback(stand_in.close)
        return stand_in.address
    return server.address if link is None else link.address
