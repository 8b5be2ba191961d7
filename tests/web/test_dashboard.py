"""The dashboard in a browser, on both engines, with workers that make trouble."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest
from duebus import Client, NewEvent
from playwright.sync_api import expect
from support.browser import at, row, table
from support.builders import unique_name
from support.documents import ROOT
from support.redis_engine import redis_flags
from support.server_process import ServerProcess, assert_untroubled
from support.shop import CARD, FIRST_ORDERS, TIMEOUT, dead_letters, open_shop
from support.web import WEB, Web

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from support.browser import Visitor

CARDS, TIMEOUTS = FIRST_ORDERS // 5, FIRST_ORDERS // 10


@pytest.fixture(scope="module", params=["local", "redis"])
def shop(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    """A server with a shop that is in trouble."""
    folder = tmp_path_factory.mktemp("shop")
    engine = redis_flags() if request.param == "redis" else ("--data-dir", str(folder / "data"))
    server = ServerProcess(folder / "server.log", *WEB, *engine)
    put_schedule(server, "weekly.report", topic="report.due", cron="0 9 * * MON", timeZone="Europe/Berlin")
    with open_shop(server.address):
        yield server
    server.close()
    assert_untroubled(server.log.read_text())


def put_schedule(server: ServerProcess, name: str, **rule: Any) -> None:
    answer = Web(server.web).call("EventBusSchedules/PutSchedule", schedule={"name": name, "event": {}, **rule})
    assert answer.status == 200, answer.body


def pages(server: ServerProcess) -> dict[str, tuple[str, str]]:
    """Every page, by name: its address, and what is there once it is drawn."""
    group = {"topic": "order.created", "group": "billing"}
    tracking = {"topic": "parcel.sent", "group": "tracking"}
    return {
        "overview": ("#/", "table"),
        "topic": (at("topic", server, topic="order.created"), ".facts dd >> nth=4"),
        "dead": (at("group", server, **group), "table >> nth=1"),
        "leased": (at("group", server, **tracking, show="leased"), "table"),
        "blocked": (at("group", server, **tracking, show="blocked"), "table"),
        "keys": (at("group", server, **tracking, show="keys"), "table"),
        "subscribers": (at("group", server, **group, show="subscribers"), "table"),
        "hour": (at("group", server, **group, show="hour"), ".uplot"),
        "nothing": (at("group", server, **group, show="scheduled", key="none"), ".empty"),
        "event": (at("event", server, topic="parcel.sent", id="parcel-0"), ".story"),
        "schedules": ("#/schedules", "table"),
        "actions": ("#/actions", "table"),
        "engines": ("#/engines", "table"),
        "none": ("#/nowhere", "main h1"),
    }


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_accessible_in_both_themes_and_on_a_phone(
    shop: ServerProcess, visit: Callable[..., Visitor], theme: str, tmp_path: Path
) -> None:
    visitor = visit(shop.web, color_scheme=theme, viewport={"width": 1200, "height": 800})
    for name, (address, drawn) in pages(shop).items():
        visitor.page.set_viewport_size({"width": 1200, "height": 800})
        visitor.open(address, drawn)
        assert visitor.accessibility_problems() == [], name
        visitor.page.screenshot(path=tmp_path / f"{name}-{theme}.png")
        visitor.page.set_viewport_size({"width": 360, "height": 740})
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert visitor.page.evaluate(overflow) <= 0, name
        assert visitor.page.evaluate("document.querySelector('header').offsetHeight") < 90, "it has two lines"
        assert visitor.accessibility_problems() == [], name


def test_the_first_page_names_the_trouble_and_leads_to_it(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    page = visit(shop.web, viewport={"width": 1100, "height": 600}).open("#/", "table")
    troubles = page.get_by_role("list").get_by_role("listitem")
    expect(troubles.filter(has_text="order.created/billing has ")).to_contain_text("dead letters.")
    expect(troubles.filter(has_text="stock.changed/search is paused, and 12 events wait")).to_be_visible()
    expect(row(page, "Topics", "payment.made").get_by_role("cell").first).to_have_text("7")
    expect(row(page, "Topics", "order.reminder").get_by_role("cell").nth(1)).to_have_text("1")
    if shop.engines == ["local"] and "WRITE_PICTURE" in os.environ:  # set by `make picture`
        expect(page.get_by_text("has no group yet")).to_be_visible(timeout=60_000)
        page.screenshot(path=ROOT / "docs/dashboard.png")
    troubles.filter(has_text="dead letters").get_by_role("link").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("order.created/billing")
    expect(row(page, "Dead letters by error", CARD)).to_be_visible()
    expect(row(page, "Dead letters by error", TIMEOUT)).to_be_visible()


def test_what_changes_is_shown_without_a_reload(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    page, topic = visit(shop.web).open("#/", "table"), unique_name()
    with Client(shop.address) as client:
        client.dispatch(topic, 1)
        expect(row(page, "Topics", topic).get_by_role("cell").first).to_have_text("1")
        client.dispatch_many(topic, [NewEvent(data=1), NewEvent(data=2, delay=600)])
        expect(row(page, "Topics", topic).get_by_role("cell").nth(0)).to_have_text("2")
        expect(row(page, "Topics", topic).get_by_role("cell").nth(1)).to_have_text("1")
        client.admin.delete_topic(topic)
        expect(row(page, "Topics", topic)).to_have_count(0)


def test_a_page_forgets_topics_that_are_gone(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    """A page that is open for days sees many come and go."""
    page, other = (visit(shop.web).open("#/", "table") for _ in range(2))
    topics = [unique_name() for _ in range(2)]
    page.evaluate("async () => { window.live = (await import('/assets/live.js')).live; }")
    kept = f"live.samples.has(`{shop.engines[0]}/${{topic}}`)"
    with Client(shop.address) as client:
        for topic in topics:
            client.dispatch(topic, 1)
        for topic in topics:
            page.wait_for_function(f"(topic) => {kept}", arg=topic)
        client.admin.delete_topic(topics[0])
        page.wait_for_function(f"(topic) => !{kept}", arg=topics[0])
        assert page.evaluate(f"(topic) => {kept}", topics[1])

        # when: one goes while nobody looks
        page.evaluate(HIDE, arg=True)
        client.admin.delete_topic(topics[1])
        expect(row(other, "Topics", topics[1])).to_have_count(0)
        page.evaluate(HIDE, arg=False)
        page.wait_for_function(f"(topic) => !{kept}", arg=topics[1])


def test_dead_letters_are_found_understood_and_redriven(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    topic = unique_name()
    with Client(shop.address) as client:
        dead_letters(client, topic, ["no disk\n  at line 1", "no disk", "no net"])
        page = visit(shop.web).open("#/", "table")
        page.get_by_role("list").get_by_role("link", name=f"{topic}/g").first.click()
        expect(row(page, "Dead letters by error", "no disk").get_by_role("cell").first).to_have_text("2")

        page.get_by_role("link", name="e0", exact=True).click()
        story = page.get_by_role("listitem")
        expect(story.filter(has_text="Attempt 1 failed, and became a dead letter")).to_contain_text(
            "held by worker-1 for "
        )
        expect(page.get_by_text('{ "n": 0 }')).to_be_visible()
        page.get_by_role("button", name="Hex").click()
        expect(page.get_by_text("7b 22 6e 22")).to_be_visible()

        page.go_back()
        page.get_by_role("button", name="Redrive the events with no disk").click()
        dialog = page.get_by_role("dialog")
        expect(dialog.get_by_role("status")).to_have_text("2 of 3 dead letters match.")
        dialog.get_by_role("button", name="Redrive 2 events").click()
        expect(dialog.get_by_role("status")).to_have_text("2 events redriven.")
        dialog.get_by_role("button", name="Close").click()
        expect(row(page, "Dead letters by error", "no disk")).to_have_count(0)
        with client.subscribe(topic, group="g") as subscription:
            assert {next(subscription).event_id, next(subscription).event_id} == {"e0", "e1"}

        page.get_by_role("button", name="Purge all").click()
        expect(dialog).to_contain_text(f"This removes 1 event of {topic} / g. It can't be undone.")
        page.get_by_role("button", name="Purge 1 event").click()
        expect(dialog.get_by_role("status")).to_have_text("1 event purged.")
        [group] = client.admin.get_topic(topic).groups
        assert group.dead == 0
        client.admin.delete_topic(topic)


def test_what_one_needs_is_in_view(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    visitor, topic = visit(shop.web), f"a-topic-with-a-name-of-many-words.{unique_name()}"
    with Client(shop.address) as client:
        dead_letters(client, topic, ["no disk", "no net"])
        client.dispatch_many(topic, [NewEvent(data=1) for _ in range(1_000)])

        # the figures beside a long name on a phone
        visitor.page.set_viewport_size({"width": 360, "height": 740})
        page = visitor.open(f"#/?q={topic}", "table")
        found = row(page, "Topics", topic)
        found.get_by_role("rowheader").scroll_into_view_if_needed()
        expect(found.get_by_text("1,000")).to_be_in_viewport(ratio=1)

        # the buttons of a form that is higher than the window, and how much a deletion removes
        page.set_viewport_size({"width": 1200, "height": 700})
        visitor.open(at("topic", shop, topic=topic))
        page.get_by_role("button", name="Configure").click()
        expect(page.get_by_role("button", name="Save")).to_be_in_viewport()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Delete").click()
        expect(page.get_by_role("dialog")).to_contain_text("1,000 events that wait, and 2 dead letters.")
        client.admin.delete_topic(topic)

    # the actions of a row that is wider than the window
    visitor.open("#/schedules", "table")
    for width in (1440, 1280, 1024, 360):
        page.set_viewport_size({"width": width, "height": 700})
        expect(page.get_by_role("button", name="Trigger weekly.report")).to_be_in_viewport(ratio=1)
        expect(page.get_by_role("button", name="Delete weekly.report")).to_be_in_viewport(ratio=1)


def test_of_a_topic_without_a_group_that_alone_is_the_trouble(
    shop: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    """Its keys are held up because nobody handles the first event of each."""
    group = {"group": "", "ready": 1, "blocked": 2, "readySince": 0, "blockedSince": 0, "rates": [0] * 4}
    found = "async (topic) => (await import('/assets/trouble.js')).troubles(topic, 60).map((each) => each.text)"
    texts = visit(shop.web).open().evaluate(found, {"groups": [group]})
    assert texts == ["has no group yet, and 1 event waits, the oldest for 1 m"]


def test_a_group_is_paused_configured_and_deleted(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    topic = unique_name()
    with Client(shop.address) as client:
        with client.subscribe(topic, group="g"):
            pass
        client.dispatch_many(topic, [NewEvent(data=1, delay=600) for _ in range(3)])
        page = visit(shop.web).open(at("group", shop, topic=topic, group="g"))
        page.get_by_role("button", name="Pause").click()
        page.get_by_role("button", name="Pause g").click()
        expect(page.get_by_text("is paused")).to_be_visible()
        assert client.admin.get_topic(topic).groups[0].paused
        page.get_by_role("button", name="Resume").click()
        page.get_by_role("button", name="Resume g").click()
        expect(page.get_by_text("is paused")).to_have_count(0)
        page.get_by_role("button", name="Configure").click()
        retries = page.get_by_role("group", name="Retries")
        retries.get_by_label("At most").fill("9")
        retries.get_by_label("The first after").fill("2s")
        page.get_by_role("button", name="Save").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        policy = client.admin.get_topic(topic).groups[0].retry_policy
        assert (policy.max_retries, policy.backoff_initial.total_seconds()) == (9, 2)
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name="Delete g and its 3 events").click()
        expect(page.get_by_role("status").filter(has_text="deleted")).to_have_text("g is deleted, with 3 events.")
        assert not [each for each in client.admin.list_topics() if each.topic == topic and each.groups]


def test_what_is_typed_stays_while_the_page_is_drawn_again(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    topic = unique_name()
    with Client(shop.address) as client:
        with client.subscribe(topic, group="g"):
            pass
        client.dispatch(topic, 1)
        page = visit(shop.web).open(at("group", shop, topic=topic, group="g", show="ready"), "table")
        ready = page.locator(".tabs a", has_text="Ready")
        page.get_by_label("Key").fill("customer-1")
        client.dispatch(topic, 2)
        expect(ready).to_have_text("Ready 2")
        assert page.get_by_label("Key").input_value() == "customer-1"
        page.get_by_role("button", name="Configure").click()
        retries = page.get_by_role("group", name="Retries").get_by_label("At most")
        retries.fill("9")
        client.dispatch(topic, 3)
        expect(ready).to_have_text("Ready 3")
        assert retries.input_value() == "9"
        client.admin.delete_topic(topic)


def test_an_event_is_dispatched_copied_rescheduled_and_cancelled(
    shop: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    topic = unique_name()
    with Client(shop.address) as client:
        client.dispatch_many(topic, [NewEvent(data="ä", id="first", key="k", delay=600)])
        visitor = visit(shop.web, expects="status of 404")  # of the event, once it is cancelled
        page = visitor.open(at("event", shop, topic=topic, id="first"), ".story")
        page.get_by_role("button", name="Dispatch a copy").click()
        page.get_by_label("Delay").fill("10m")
        page.get_by_role("button", name="Dispatch", exact=True).click()
        done = page.get_by_role("dialog").get_by_role("status")
        expect(done).to_contain_text("Dispatched as ")
        copy = client.admin.get_event(topic, done.inner_text().removeprefix("Dispatched as ").removesuffix("."))
        assert (copy.text(), copy.key) == ("ä", "k")
        page.get_by_role("button", name="Close").click()
        page.get_by_role("button", name="Reschedule").click()
        page.get_by_role("dialog").get_by_role("button", name="Reschedule").click()
        expect(page.get_by_text("waits for a subscriber")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        page.get_by_role("button", name="Cancel first").click()
        expect(page.get_by_role("dialog").get_by_role("status")).to_have_text("first is cancelled.")

        page = visit(shop.web).open(at("topic", shop, topic=topic))
        page.get_by_role("button", name="Delete").click()
        page.get_by_role("button", name=f"Delete {topic} and its 1 event").click()
        expect(page.get_by_role("dialog").get_by_role("status")).to_have_text(f"{topic} is deleted, with 1 event.")


def test_a_copy_has_the_same_bytes_although_a_text_field_changes_the_ends_of_lines(
    shop: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    topic = unique_name()
    with Client(shop.address) as client:
        client.dispatch_many(topic, [NewEvent(data=b"one\r\ntwo\rthree\n", id="first", delay=600)])
        page = visit(shop.web).open(at("event", shop, topic=topic, id="first"), ".story")
        page.get_by_role("button", name="Dispatch a copy").click()
        page.get_by_role("button", name="Dispatch", exact=True).click()
        done = page.get_by_role("dialog").get_by_role("status")
        expect(done).to_contain_text("Dispatched as ")
        copy = client.admin.get_event(topic, done.inner_text().removeprefix("Dispatched as ").removesuffix("."))
        assert copy.data == b"one\r\ntwo\rthree\n"


def test_a_page_does_not_show_one_event_as_another_while_that_is_fetched(
    shop: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    """Nor would a dialog start with the settings of another topic, and save them."""
    topic, held = unique_name(), []
    with Client(shop.address) as client:
        client.dispatch_many(topic, [NewEvent(data=f"of {name}", id=name, delay=600) for name in ("first", "second")])
        page = visit(shop.web).open(at("event", shop, topic=topic, id="first"), ".story")
        expect(page.get_by_text("of first")).to_be_visible()
        page.route("**/GetEvent", lambda route: held.append(route))  # noqa: PLW0108  # it needs a function of its own
        page.goto(f"{shop.web}/{at('event', shop, topic=topic, id='second')}")
        expect(page.get_by_text("Loading")).to_be_visible()
        expect(page.get_by_text("of first")).to_have_count(0)
        for route in held:
            route.continue_()
        page.unroute("**/GetEvent")
        expect(page.get_by_text("of second")).to_be_visible()


def test_a_schedule_is_shown_paused_triggered_backfilled_and_deleted(
    shop: ServerProcess, visit: Callable[..., Visitor]
) -> None:
    name = unique_name("schedule")
    put_schedule(shop, name, topic=unique_name(), every="3600s", note="for the test")
    page = visit(shop.web).open("#/schedules", "table")
    own, dialog = row(page, "Schedules", name), page.get_by_role("dialog")
    status = dialog.get_by_role("status")
    expect(row(page, "Schedules", "weekly.report")).to_contain_text("at 09:00, Monday (Europe/Berlin)")
    expect(own).to_contain_text("for the test")
    page.keyboard.press("/")
    page.keyboard.type(name.upper())
    expect(row(page, "Schedules", "weekly.report")).to_have_count(0)
    expect(own).to_be_visible()
    own.get_by_role("button", name="Trigger").click()
    dialog.get_by_role("button", name=f"Trigger {name}").click()
    expect(status).to_contain_text(f"Dispatched as {name}@")
    page.get_by_role("button", name="Close").click()
    own.get_by_role("button", name="Backfill").click()
    dialog.get_by_role("button", name="Backfill").click()
    expect(status).to_have_text("24 events dispatched.")
    page.get_by_role("button", name="Close").click()
    own.get_by_role("button", name="Pause").click()
    dialog.get_by_role("button", name=f"Pause {name}").click()
    expect(own.get_by_text("paused")).to_be_visible()
    own.get_by_role("button", name="Resume").click()
    dialog.get_by_role("button", name=f"Resume {name}").click()
    expect(own.get_by_role("button", name="Pause")).to_be_visible()
    own.get_by_role("button", name="Delete").click()
    dialog.get_by_role("button", name=f"Delete {name}").click()
    expect(own).to_have_count(0)


def test_the_keyboard_searches_and_helps(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    page = visit(shop.web).open("#/engines", "table")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Help")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    page.keyboard.press("/")
    page.keyboard.type("stock")
    expect(page.get_by_role("heading", name="1 topic with “stock”")).to_be_visible()
    expect(row(page, "Topics", "stock.changed")).to_be_visible()
    assert page.url.endswith("#/?q=stock")


HIDE = """(hides) => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hides });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
"""What a browser does when another tab covers the page, or no longer does."""


def test_a_page_that_nobody_looks_at_closes_its_stream(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    hidden, seen = (visit(shop.web).open("#/", "table") for _ in range(2))
    topic = unique_name()
    with Client(shop.address) as client:
        for page in (hidden, seen):
            page.get_by_label("Search topics").fill(topic)
        hidden.evaluate(HIDE, arg=True)
        client.dispatch(topic, 1)
        expect(row(seen, "Topics", topic)).to_be_visible()
        expect(row(hidden, "Topics", topic)).to_have_count(0)
        hidden.evaluate(HIDE, arg=False)
        expect(row(hidden, "Topics", topic)).to_be_visible()
        client.admin.delete_topic(topic)


def test_a_list_is_filtered_by_the_address(shop: ServerProcess, visit: Callable[..., Visitor]) -> None:
    address = at("group", shop, topic="parcel.sent", group="tracking", show="blocked", key="customer-0", order="newest")
    page = visit(shop.web).open(address, "table")
    ids = [each.inner_text() for each in table(page, "blocked events").get_by_role("rowheader").all()]
    assert ids == ["parcel-8", "parcel-6", "parcel-4", "parcel-2"]
    expect(page.get_by_label("Key")).to_have_value("customer-0")
    page.get_by_label("Key").fill("customer-1")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No blocked events of key “customer-1”")).to_be_visible()


def test_the_page_may_only_run_its_own_files(web: Web) -> None:
    answer = web.ask("GET", "/")
    policy = answer.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    for path in ("/assets/app.js", "/assets/style.css", "/assets/vendor/LICENSE-uplot"):
        assert web.ask("GET", path).status == 200
    for path in ("/assets/../app.py", "/assets/%2e%2e/app.py", "/assets/", "/assets/nothing.js"):
        assert web.ask("GET", path).status == 404
