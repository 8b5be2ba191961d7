"""Which servers share an engine, and the state of its storage, on the dashboard."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from duebus import Client
from playwright.sync_api import expect
from support.browser import row, table
from support.redis_engine import redis_flags
from support.secured import rule
from support.web import WEB, Guarded, Web

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from support.browser import Visitor
    from support.server_process import ServerProcess

RULES = rule("viewer", "view") + rule("orders", "view", topics="order.*")


def test_the_servers_of_a_bus_and_their_redis_are_shown(
    start_server: Callable[..., ServerProcess], visit: Callable[..., Visitor]
) -> None:
    engine = redis_flags()
    server, other = start_server(*WEB, *engine), start_server(*engine)

    page = visit(server.web).open("#/engines", "table >> nth=2")
    expect(page.get_by_role("heading", name="2 servers of redis writing layout 1")).to_be_visible()
    expect(row(page, "Servers of redis", "this one")).to_have_count(1)
    expect(row(page, "Redis", "noeviction")).to_contain_text("master")
    other.close()
    expect(page.get_by_role("heading", name="1 server of redis")).to_be_visible()


def test_the_journal_is_shown(
    start_server: Callable[..., ServerProcess], visit: Callable[..., Visitor], tmp_path: Path
) -> None:
    server = start_server(*WEB, "--data-dir", str(tmp_path / "data"))
    with Client(server.address) as client:
        client.dispatch("order.created", 1)

    page = visit(server.web).open("#/engines", ".facts")
    facts = page.locator(".facts")
    expect(facts).to_contain_text(str(tmp_path / "data"))
    expect(facts).to_contain_text(re.compile(r"before each answer; last .* ago"))
    expect(facts).to_contain_text("the disk has room")
    expect(table(page, "Servers of local")).to_contain_text("this one")


def test_only_who_may_view_all_topics_sees_the_engines(guarded: Callable[..., Guarded]) -> None:
    bus = guarded("viewer", "orders", rules=RULES)
    callers = [Web(bus.server.web), bus.web("orders"), bus.web("viewer")]
    assert [web.ask("GET", "/engines").status for web in callers] == [401, 403, 200]
