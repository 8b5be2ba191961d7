"""Long lists on the page: only the rows in view are in the document, and events are fetched as they are scrolled to."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus import Client, NewEvent
from playwright.sync_api import expect
from support.browser import at, row, table
from support.builders import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page
    from support.browser import Visitor
    from support.server_process import ServerProcess

TOPICS, EVENTS, FETCHED = 600, 1_000, 200
IN_DOCUMENT = 100
"""More rows than a window of 800 pixels and its surroundings take."""

WINDOW = {"width": 1200, "height": 800}


@pytest.fixture(scope="module")
def prefix(each_engine: ServerProcess) -> str:
    """What the names of many topics begin with; the first has many events."""
    name = unique_name()
    with Client(each_engine.address) as client:
        for number in range(TOPICS):
            client.dispatch(f"{name}-{number:04}", number, delay=3_600)
        client.dispatch_many(f"{name}-0000", [NewEvent(data=n, id=f"e{n:04}") for n in range(EVENTS)])
    return name


def drawn(page: Page) -> int:
    return page.locator("tbody tr:not(.space)").count()


def scroll_to_the_end(page: Page) -> None:
    page.evaluate("window.scrollTo(0, document.body.scrollHeight)")


def test_all_topics_can_be_scrolled_to_and_few_are_in_the_document(
    each_engine: ServerProcess, prefix: str, visit: Callable[..., Visitor]
) -> None:
    page = visit(each_engine.web, viewport=WINDOW).open(f"#/?q={prefix}", "table")
    expect(page.get_by_role("heading", name=f"{TOPICS} topics")).to_be_visible()
    expect(row(page, "Topics", f"{prefix}-0000")).to_be_visible()
    assert drawn(page) < IN_DOCUMENT
    for _ in range(3):  # there and back, as a reader goes
        scroll_to_the_end(page)
        expect(row(page, "Topics", f"{prefix}-{TOPICS - 1:04}")).to_be_in_viewport()
        assert drawn(page) < IN_DOCUMENT
        last = table(page, "Topics").get_by_role("row").last
        expect(last).to_have_attribute("aria-rowindex", str(TOPICS + 1))
        page.evaluate("window.scrollTo(0, 0)")
        expect(row(page, "Topics", f"{prefix}-0000")).to_be_in_viewport()
    scroll_to_the_end(page)
    page.keyboard.press("/")
    page.keyboard.press("End")
    page.keyboard.type("-0123")
    expect(row(page, "Topics", f"{prefix}-0123")).to_be_in_viewport()


def test_events_are_fetched_as_they_are_scrolled_to(
    each_engine: ServerProcess, prefix: str, visit: Callable[..., Visitor]
) -> None:
    place = {"topic": f"{prefix}-0000", "group": "", "show": "ready"}
    page = visit(each_engine.web, viewport=WINDOW).open(at("group", each_engine, **place), "table")
    expect(row(page, "ready events", "e0000")).to_be_visible()
    assert drawn(page) < IN_DOCUMENT
    expect(page.get_by_role("button", name="Fetch again")).to_have_count(0)
    for fetched in range(2 * FETCHED, EVENTS + 1, FETCHED):
        scroll_to_the_end(page)
        expect(page.get_by_text(f"{fetched:,} events as they were when they were fetched.")).to_be_visible()
        assert drawn(page) < IN_DOCUMENT
    scroll_to_the_end(page)
    expect(row(page, "ready events", f"e{EVENTS - 1:04}")).to_be_in_viewport()
    page.get_by_role("button", name="Fetch again").click()
    expect(page.get_by_text("as they were when they were fetched")).to_have_count(0)
