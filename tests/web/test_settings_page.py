"""The settings of topics and groups on the page, in words and changed; what waits for a limit or a key, and why."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from duebus import Client, KeyPolicy, Limits, NewEvent, OnDead, Rate
from playwright.sync_api import expect
from support.browser import at, row
from support.builders import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duebus import GroupInfo
    from playwright.sync_api import Page
    from support.browser import Visitor
    from support.server_process import ServerProcess


@pytest.fixture
def client(each_engine: ServerProcess) -> Iterator[Client]:
    with Client(each_engine.address) as client:
        yield client


@pytest.fixture
def topic(client: Client) -> str:
    """A topic with the group g."""
    name = unique_name()
    with client.subscribe(name, group="g"):
        return name


@pytest.fixture
def page(each_engine: ServerProcess, topic: str, visit: Callable[..., Visitor]) -> Page:
    """The page of the group. The browser logs each change that the server refuses."""
    visitor = visit(each_engine.web, expects="status of 400")
    return visitor.open(at("group", each_engine, topic=topic, group="g"), ".facts")


def group_of(client: Client, topic: str) -> GroupInfo:
    [group] = client.admin.get_topic(topic).groups
    return group


def save(page: Page) -> None:
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_role("dialog")).to_have_count(0)


def test_limits_and_keys_of_a_group_are_shown_in_words_and_changed(client: Client, topic: str, page: Page) -> None:
    facts = page.locator(".facts")
    expect(facts).to_contain_text("Limitsnone")
    expect(facts).to_contain_text("in order, one event of a key at a time; a dead letter lets the next one through")
    page.get_by_role("button", name="Configure").click()
    limits, keys = page.get_by_role("group", name="Limits"), page.get_by_role("group", name="Keys")
    limits.get_by_label("In flight at most").fill("5")
    limits.get_by_label("Deliveries at most").fill("30")
    limits.get_by_label("in", exact=True).fill("1m")
    keys.get_by_label("Deliveries at most").fill("2")
    save(page)
    expect(facts).to_contain_text("at most 5 in flight; at most 30 a minute")
    expect(facts).to_contain_text("of each key at most 2 a second")
    group = group_of(client, topic)
    assert group.limits == Limits(max_in_flight=5, rate=Rate(events=30, per=timedelta(minutes=1)))
    assert group.keys == KeyPolicy(max_in_flight=1, rate=Rate(events=2, per=timedelta(seconds=1)))

    client.admin.configure_topic(topic, max_retries=7)
    assert group_of(client, topic).retry_policy.max_retries == 7, "what was not changed follows the topic"
    page.get_by_role("button", name="Configure").click()
    limits.get_by_label("Drop these").check()
    save(page)
    expect(facts).to_contain_text("Limitsnone")
    group = group_of(client, topic)
    assert (group.limits, group.keys) == (
        None,
        KeyPolicy(max_in_flight=1, rate=Rate(events=2, per=timedelta(seconds=1))),
    )


@pytest.mark.parametrize(
    ("fieldset", "label", "value", "problem"),
    [
        ("Limits", "Deliveries at most", "2000000", "is 2000000, must be from 1 to 1000000"),
        ("Limits", "in", "2d", "is 172,800 s, must be from 0.001 s to 86,400 s"),
        ("Keys", "Deliveries at most", "2000000", "is 2000000, must be from 1 to 1000000"),
        ("Retries", "The first after", "1d", "must not be less than"),
        ("Retries", "The first after", "soon", "“soon” is not a duration"),
    ],
)
def test_what_is_wrong_is_said_beside_the_field(  # two fixtures, and a case of four parts
    client: Client, topic: str, page: Page, fieldset: str, label: str, value: str, problem: str
) -> None:
    page.get_by_role("button", name="Configure").click()
    fields = page.get_by_role("group", name=fieldset)
    if label == "in":
        fields.get_by_label("Deliveries at most").fill("1")
    fields.get_by_label(label, exact=label == "in").fill(value)
    page.get_by_role("button", name="Save").click()
    expect(page.locator("label", has=page.get_by_role("alert"))).to_contain_text(problem)
    wrong = page.locator("[aria-invalid]")
    expect(wrong).to_have_value(value)
    expect(wrong).to_be_focused()
    group = group_of(client, topic)
    assert (group.limits, group.keys) == (None, None)


def test_holding_and_losing_the_order_of_keys_ask_first(client: Client, topic: str, page: Page) -> None:
    page.get_by_role("button", name="Configure").click()
    keys, warning = page.get_by_role("group", name="Keys"), page.get_by_role("alert")
    keys.get_by_label("A dead letter").select_option("holds up its key")
    page.get_by_role("button", name="Save").click()
    expect(warning).to_contain_text("From now on a dead letter holds up its key")
    assert group_of(client, topic).keys is None
    keys.get_by_label("Of a key at once").fill("0")
    expect(warning).to_have_count(0)
    page.get_by_role("button", name="Save").click()
    expect(warning).to_contain_text("Events of one key are no longer delivered in order")
    keys.get_by_label("Of a key at once").fill("1")
    page.get_by_role("button", name="Save").click()
    page.get_by_role("button", name="Save all the same").click()
    expect(page.get_by_role("dialog")).to_have_count(0)
    expect(page.locator(".facts")).to_contain_text("a dead letter holds up its key")
    assert group_of(client, topic).keys == KeyPolicy(max_in_flight=1, on_dead=OnDead.HOLD)


def test_a_topic_is_configured_and_purging_and_filling_it_ask_first(
    each_engine: ServerProcess, client: Client, topic: str, visit: Callable[..., Visitor]
) -> None:
    client.dispatch_many(topic, [NewEvent(data=1, delay=600) for _ in range(3)])
    page = visit(each_engine.web).open(at("topic", each_engine, topic=topic), ".facts dd >> nth=4")
    page.get_by_role("button", name="Configure").click()
    own = page.get_by_role("group", name="Topic")
    own.get_by_label("Holds at most").fill("2")
    own.get_by_label("Purge dead letters after").fill("7d")
    page.get_by_role("group", name="Limits of each group").get_by_label("In flight at most").fill("9")
    page.get_by_role("button", name="Save").click()
    warning = page.get_by_role("alert")
    expect(warning).to_contain_text("The topic holds 3 events: dispatches are refused until it holds fewer than 2.")
    expect(warning).to_contain_text("This purges each dead letter 7 d after its death, for good.")
    page.get_by_role("button", name="Save all the same").click()
    expect(page.locator(".facts")).to_contain_text("Limits of each groupat most 9 in flight")
    config = client.admin.get_topic(topic).config
    assert (config.max_queued, config.dead_letter_retention.days, config.limits) == (2, 7, Limits(max_in_flight=9))


def test_a_stuck_key_leads_to_the_event_that_it_waits_for(client: Client, topic: str, page: Page) -> None:
    client.admin.configure_topic(topic, group="g", keys=KeyPolicy(on_dead=OnDead.HOLD))
    client.dispatch_many(topic, [NewEvent(data=n, id=f"e{n}", key="order-7", priority=60 * n) for n in range(3)])
    with client.subscribe(topic, group="g") as subscription:
        client.nack(next(subscription), error="no stock", dead_letter=True)
    page.get_by_role("link", name="Keys").click()
    stuck = row(page, "Keys", "order-7")
    expect(stuck).to_contain_text("a dead letter, until it is redriven or purged")
    expect(stuck.get_by_role("cell").first).to_have_text("2")
    stuck.get_by_role("link", name="order-7").click()
    blocked = row(page, "blocked events", "e2")
    expect(blocked).to_contain_text("priority 120")
    blocked.get_by_role("link", name="e0").click()
    expect(page.get_by_text("no stock")).to_be_visible()
    page.go_back()
    row(page, "blocked events", "e2").get_by_role("link", name="e2").click()
    expect(page.locator(".facts")).to_contain_text("a head start of 2 m")
    expect(page.get_by_text("Waits for the event of its key that is ahead of it")).to_be_visible()


def test_a_group_that_its_limit_holds_up_says_until_when(client: Client, topic: str, page: Page) -> None:
    client.admin.configure_topic(topic, group="g", limits=Limits(rate=Rate(events=1, per=3_600)))
    client.dispatch_many(topic, [NewEvent(data=n) for n in range(2)])
    with client.subscribe(topic, group="g") as subscription:
        client.ack(next(subscription))
        expect(page.locator(".facts")).to_contain_text("at most 1 an hour")
        expect(page.locator(".facts")).to_contain_text("held up until")


def test_a_group_is_paused_and_resumed_on_the_page_of_its_topic(
    each_engine: ServerProcess, client: Client, topic: str, visit: Callable[..., Visitor]
) -> None:
    page = visit(each_engine.web).open(at("topic", each_engine, topic=topic), "table")
    for verb, is_paused in (("Pause", True), ("Resume", False)):
        row(page, "Groups", "g").get_by_role("button", name=f"{verb} g").click()
        page.get_by_role("dialog").get_by_role("button", name=f"{verb} g").click()
        expect(page.get_by_role("dialog")).to_have_count(0)
        assert group_of(client, topic).paused is is_paused
