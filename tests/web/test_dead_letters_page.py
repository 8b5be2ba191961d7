"""Many dead letters on the page: chosen by a filter, counted, then redriven or purged in steps that can be stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from duebus import Client, Nack, NewEvent
from playwright.sync_api import expect
from support.browser import at
from support.builders import unique_name

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from duebus import Subscription
    from playwright.sync_api import Page
    from support.browser import Visitor
    from support.server_process import ServerProcess

DEAD = 2_500
"""More than one step redrives at once."""

BATCH = 500


@pytest.fixture
def client(each_engine: ServerProcess) -> Iterator[Client]:
    with Client(each_engine.address) as client:
        yield client


@pytest.fixture
def topic(client: Client) -> str:
    """A topic with dead letters: every fifth has no disk, and one has another key than all others."""
    name = unique_name()
    with client.subscribe(name, group="g", max_in_flight=1_000) as subscription:
        events = [NewEvent(data=n, id=f"e{n}", key="" if n else "order-7") for n in range(DEAD)]
        for first in range(0, DEAD, BATCH):
            client.dispatch_many(name, events[first : first + BATCH])
        bury(client, subscription, lambda number: "no net" if number % 5 else "no disk")
    return name


def bury(client: Client, subscription: Subscription, error: Callable[[int], str]) -> None:
    """Nack all events as dead."""
    for _ in range(0, DEAD, BATCH):
        deliveries = [next(subscription) for _ in range(BATCH)]
        nacks = [Nack(delivery=each, error=error(int(each.event_id[1:])), dead_letter=True) for each in deliveries]
        assert client.nack_many(nacks) == []


@pytest.fixture
def page(each_engine: ServerProcess, topic: str, visit: Callable[..., Visitor]) -> Page:
    return visit(each_engine.web).open(at("group", each_engine, topic=topic, group="g"), "table")


def dead(client: Client, topic: str) -> int:
    [group] = client.admin.get_topic(topic).groups
    return group.dead


def test_what_matches_a_filter_is_counted_before_it_is_purged(client: Client, topic: str, page: Page) -> None:
    page.get_by_role("button", name="Purge all").click()
    dialog = page.get_by_role("dialog")
    status = dialog.get_by_role("status")
    expect(status).to_have_text("2,500 of 2,500 dead letters match.")
    dialog.get_by_label("Error has").fill("no disk")
    dialog.get_by_label("Error has").press("Tab")
    expect(status).to_have_text("500 of 2,500 dead letters match.")
    dialog.get_by_label("Dead for at least").fill("3600")
    dialog.get_by_label("Dead for at least").press("Tab")
    expect(status).to_have_text("0 of 2,500 dead letters match.")
    expect(dialog.get_by_role("button", name="Purge 0 events")).to_be_disabled()
    dialog.get_by_label("Dead for at least").fill("0")
    dialog.get_by_label("Key").fill("order-7")
    dialog.get_by_label("Key").press("Tab")
    expect(status).to_have_text("1 of 2,500 dead letters matches.")
    dialog.get_by_role("button", name="Purge 1 event").click()
    expect(status).to_have_text("1 event purged.")
    assert dead(client, topic) == DEAD - 1


def test_a_redrive_shows_how_far_it_is_and_can_be_stopped(client: Client, topic: str, page: Page) -> None:
    page.get_by_role("button", name="Redrive the events with no disk").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Events a second").fill("0.02")
    expect(dialog).to_contain_text("This takes 6 h 56 m, and goes on while this dialog is open.")
    dialog.get_by_role("button", name="Redrive 500 events").click()
    status = dialog.get_by_role("status")
    expect(status).to_contain_text("1 event redriven of 500, 6 h 55 m to go.")
    expect(dialog.get_by_role("progressbar")).to_have_attribute("value", "1")
    dialog.get_by_role("button", name="Stop").click()
    expect(status).to_have_text("1 event redriven of 500: stopped. 499 dead letters are left.")
    dialog.get_by_role("button", name="Close").click()
    assert dead(client, topic) == DEAD - 1
    [group] = client.admin.get_topic(topic).groups
    assert group.ready + group.scheduled == 1


def test_what_dies_again_is_not_redriven_again(client: Client, topic: str, page: Page) -> None:
    page.get_by_role("button", name="Redrive all").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Events a second").fill("1000")
    with client.subscribe(topic, group="g", max_in_flight=1_000) as subscription:
        dialog.get_by_role("button", name="Redrive 2,500 events").click()
        bury(client, subscription, lambda _: "again")
        expect(dialog.get_by_role("status")).to_have_text("2,500 events redriven.")
        assert dead(client, topic) == DEAD
