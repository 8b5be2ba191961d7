"""What happened in the last hour, as the dashboard draws it, and how late deliveries were."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from duebus import Client, NewEvent
from playwright.sync_api import expect
from support.browser import at, row
from support.builders import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from support.browser import Visitor
    from support.server_process import ServerProcess

LATE = re.compile(r"^<?\d[\d.]* (ms|s)$")


def test_a_topic_shows_its_last_hour_and_its_lateness(
    each_engine: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    topic = unique_name()
    page = visit(each_engine.web).open("#/", "main h1")
    with Client(each_engine.address) as client:
        client.dispatch_many(topic, [NewEvent(data=n) for n in range(5)])
        with client.subscribe(topic, group="g") as subscription:
            first, second, *others = [next(subscription) for _ in range(5)]
            client.nack(first, dead_letter=True)
            client.nack(second, delay=600)
            client.ack(*others)
        expect(row(page, "Topics", topic).get_by_role("cell").nth(6)).to_have_text(LATE)
        expect(row(page, "Topics", topic).get_by_role("cell").nth(7)).to_have_text(LATE)
        page.get_by_role("button", name="p99").click()
        expect(page.get_by_role("columnheader", name="p99")).to_have_attribute("aria-sort", "descending")

        page.goto(f"{each_engine.web}/{at('topic', each_engine, topic=topic)}")
        totals = "dispatched 5, delivered 5, acked 3, nacked 2, dead 1"
        expect(page.get_by_role("img", name=f"Events by the minute in the last hour: {totals}")).to_be_visible()
        expect(page.get_by_role("img", name="Lateness by the minute")).to_be_visible()
        expect(page.locator(".uplot")).to_have_count(2)

        page.goto(f"{each_engine.web}/{at('group', each_engine, topic=topic, group='g')}")
        expect(page.get_by_text(re.compile(r"p50 .+, p99 .+ in the last five minutes"))).to_be_visible()
        page.get_by_role("link", name="Last hour").click()
        totals = "delivered 5, acked 3, nacked 2, dead 1"
        expect(page.get_by_role("img", name=f"Events by the minute in the last hour: {totals}")).to_be_visible()
        client.admin.delete_topic(topic)


def test_a_topic_in_which_nothing_happened_has_no_chart(
    each_engine: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    topic = unique_name()
    with Client(each_engine.address) as client:
        with client.subscribe(topic, group="g"):
            pass
        page = visit(each_engine.web).open(at("group", each_engine, topic=topic, group="g", show="hour"), ".tabs")
        expect(page.get_by_text("Nothing happened in the last hour")).to_be_visible()
        expect(page.get_by_text("no deliveries in the last five minutes")).to_be_visible()
        client.admin.delete_topic(topic)
