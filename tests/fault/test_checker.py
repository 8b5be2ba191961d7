"""The checker finds every violation, and nothing in a correct history."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from fault.checker import LATE, check
from fault.explanations import SECOND
from fault.history import (
    ACK,
    DONE,
    EXTEND,
    NACK,
    UNKNOWN,
    Delivery,
    Dispatched,
    History,
    Left,
    Outage,
    Settle,
    Stream,
    read_history,
)
from fault.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

    from fault.checker import Report

GROUP = "billing"
LEASE = 30 * SECOND


class HistoryBuilder:
    """A history in which one event is accepted at second 0; the test adds the rest. Times are in seconds."""

    def __init__(self, delay: float = 0.0) -> None:
        self.history = History(groups=[GROUP])
        self.history.dispatched.append(Dispatched("name", 0, us(delay), "id"))

    def stream(self, began: float, ended: float | None, worker: str = "one", server: str = "0") -> HistoryBuilder:
        self.history.streams.append(Stream(worker, server, us(began), None if ended is None else us(ended)))
        return self

    def delivered(self, at: float, fence: int, worker: str = "one", **more: Any) -> HistoryBuilder:
        given = {"name": "name", "event_id": "id", "granted": us(at), "expires": us(at) + LEASE, **more}
        self.history.deliveries.append(Delivery(GROUP, worker, fence=fence, came=us(at), **given))
        return self

    def settled(self, at: float, verb: str, fence: int, outcome: str = DONE, **more: Any) -> HistoryBuilder:
        self.history.settles.append(Settle(GROUP, verb, fence, us(at), outcome, **more))
        return self

    def handled(self, at: float, fence: int) -> HistoryBuilder:
        self.history.handlers_ended[GROUP, fence] = us(at)
        return self

    def outage(self, what: str, target: str, began: float, ended: float) -> HistoryBuilder:
        self.history.outages.append(Outage(what, target, us(began), us(ended)))
        return self

    def left(self, state: str) -> HistoryBuilder:
        self.history.left.append(Left(GROUP, "id", state))
        return self

    def check(self) -> Report:
        return check(self.history)


def us(seconds: float) -> int:
    return round(seconds * SECOND)


def kinds(builder: HistoryBuilder) -> set[str]:
    return builder.check().kinds()


def twice(second: float = 4.0, **more: Any) -> HistoryBuilder:
    """A delivery at second 1 and, to another worker, at ``second``, which acks it."""
    builder = HistoryBuilder().stream(0, None, "one").stream(0, None, "two", "1")
    return builder.delivered(1, 1, "one").delivered(second, 2, "two", **more).settled(second + 0.5, ACK, 2)


# --- nothing to find ------------------------------------------------------------------------------------------------


def test_delivered_and_acked() -> None:
    assert kinds(HistoryBuilder(delay=0.5).delivered(0.5, 1).settled(0.6, ACK, 1)) == set()


@pytest.mark.parametrize("state", ["scheduled", "ready", "leased", "dead"])
def test_an_event_that_is_still_there_is_not_lost(state: str) -> None:
    assert kinds(HistoryBuilder().left(state)) == set()


def test_an_event_whose_ack_was_never_answered_may_be_gone() -> None:
    assert kinds(HistoryBuilder().delivered(1, 1).settled(2, ACK, 1, UNKNOWN)) == set()


def test_an_event_that_was_not_accepted_may_be_missing_or_delivered() -> None:
    missing, delivered = HistoryBuilder(), HistoryBuilder().delivered(1, 1).settled(2, ACK, 1)
    for builder in (missing, delivered):
        builder.history.dispatched[0].event_id = None
        assert kinds(builder) == set()


# --- lost -----------------------------------------------------------------------------------------------------------


def test_an_accepted_event_that_is_nowhere_is_lost() -> None:
    assert kinds(HistoryBuilder()) == {"lost"}


def test_an_event_that_was_delivered_but_not_acked_is_lost() -> None:
    assert kinds(HistoryBuilder().delivered(1, 1)) == {"lost"}


@pytest.mark.parametrize("outcome", ["EXPIRED", "SETTLED"])
def test_an_ack_that_failed_does_not_account_for_an_event(outcome: str) -> None:
    assert kinds(HistoryBuilder().delivered(1, 1).settled(2, ACK, 1, outcome)) == {"lost"}


def test_an_extension_or_a_nack_does_not_account_for_an_event() -> None:
    assert kinds(HistoryBuilder().delivered(1, 1).settled(2, EXTEND, 1).settled(3, NACK, 1, UNKNOWN)) == {"lost"}


def test_an_event_may_be_lost_to_one_group_of_two() -> None:
    builder = HistoryBuilder().delivered(1, 1).settled(2, ACK, 1)
    builder.history.groups.append("audit")
    assert kinds(builder) == {"lost"}


# --- early ----------------------------------------------------------------------------------------------------------


def test_leased_before_the_producer_wants_it() -> None:
    assert kinds(HistoryBuilder(delay=2).delivered(1.999, 1).settled(3, ACK, 1)) == {"early"}


def test_leased_before_the_engine_says_it_is_due() -> None:
    assert kinds(HistoryBuilder().delivered(1, 1, due=us(1.001)).settled(3, ACK, 1)) == {"early"}


def test_delivered_again_before_a_nack_wants_it() -> None:
    again = {"last_error": "not now"}
    nack: dict[str, Any] = {"error": "not now", "delay": us(3)}
    assert kinds(twice(4.9, **again).settled(2, NACK, 1, **nack)) == {"early"}
    assert kinds(twice(5.0, **again).settled(2, NACK, 1, **nack)) == set()


def test_a_nack_counts_from_its_first_try() -> None:
    nack: dict[str, Any] = {"error": "not now", "delay": us(3)}
    builder = twice(5.0, last_error="not now").settled(2, NACK, 1, UNKNOWN, **nack)
    assert kinds(builder.settled(2.5, NACK, 1, UNKNOWN, **nack)) == set()


def test_a_nack_that_did_not_go_through_delays_nothing() -> None:
    builder = twice(4.0, last_error="the lease expired").outage("kill", "worker:one", 2, 2)
    assert kinds(builder.settled(2, NACK, 1, UNKNOWN, error="not now", delay=us(3))) == set()


# --- two holders ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", [EXTEND, NACK])
def test_a_lease_that_is_used_after_another_has_the_event(verb: str) -> None:
    assert "two holders" in kinds(twice().outage("kill", "worker:one", 2, 2).settled(4.1, verb, 1))


def test_a_lease_that_is_refused_after_another_has_the_event() -> None:
    assert kinds(twice().outage("kill", "server:0", 2, 2).settled(4.1, EXTEND, 1, "EXPIRED")) == set()


def test_one_fencing_token_for_two_deliveries() -> None:
    builder = HistoryBuilder().delivered(1, 1, "one").delivered(2, 1, "two").settled(3, ACK, 1)
    assert "two holders" in kinds(builder)


def test_an_ack_of_a_lease_that_was_lost() -> None:
    builder = twice().outage("kill", "server:0", 2, 2).settled(4.1, ACK, 1)
    assert kinds(builder) == {"two holders", "undead"}


def test_a_handler_that_goes_on_after_its_lease_is_lost_is_counted() -> None:
    report = twice(31.0).handled(32, 1).check()
    assert report.violations == []
    assert report.two_at_once == {"expired": 1}


def test_an_event_that_is_given_back_while_its_handler_goes_on() -> None:
    given_back = twice().settled(2, NACK, 1)
    assert kinds(given_back.handled(1.9, 1)) == set()
    assert kinds(given_back.handled(4.1, 1)) == {"two holders"}


# --- undead ---------------------------------------------------------------------------------------------------------


def test_delivered_after_it_was_acked() -> None:
    assert "undead" in kinds(twice().settled(2, ACK, 1).outage("kill", "worker:one", 3, 3))


def test_delivered_after_it_was_made_a_dead_letter() -> None:
    assert "undead" in kinds(twice().settled(2, NACK, 1, final=True))


# --- unexplained ----------------------------------------------------------------------------------------------------


def test_delivered_twice_for_no_reason() -> None:
    assert kinds(twice()) == {"unexplained"}


def test_a_lease_that_ran_out_explains_another_delivery() -> None:
    assert kinds(twice(31.0)) == set()
    assert "unexplained" in kinds(twice(30.9))


def test_an_extended_lease_has_not_run_out() -> None:
    assert "unexplained" in kinds(twice(31.0).settled(20, EXTEND, 1, lease=LEASE))
    assert kinds(twice(31.0).settled(20, EXTEND, 1, "EXPIRED", lease=LEASE)) == set()
    assert kinds(twice(50.0).settled(20, EXTEND, 1, lease=LEASE)) == set()


def test_giving_it_back_explains_another_delivery() -> None:
    report = twice().settled(2, NACK, 1, UNKNOWN).check()
    assert report.violations == []
    assert report.duplicates == {"given back": 1}


def test_giving_it_back_later_explains_nothing() -> None:
    assert kinds(twice().settled(4.1, NACK, 1, "EXPIRED")) == {"unexplained"}


def test_a_nack_that_was_refused_explains_nothing() -> None:
    assert kinds(twice().settled(2, NACK, 1, "EXPIRED")) == {"unexplained"}


def test_a_killed_worker_explains_another_delivery() -> None:
    report = twice().outage("kill", "worker:one", 2, 2).check()
    assert report.violations == []
    assert report.slowest == {"worker died": us(2)}
    assert kinds(twice().outage("kill", "worker:two", 2, 2)) == {"unexplained"}
    assert kinds(twice().outage("kill", "worker:one", 4.1, 4.1)) == {"unexplained"}


def test_a_paused_worker_explains_nothing() -> None:
    assert kinds(twice().outage("pause", "worker:one", 2, 3)) == {"unexplained"}


def test_a_stream_that_ended_explains_another_delivery() -> None:
    assert kinds(twice().stream(0, 2.0, "one")) == set()
    assert kinds(twice().stream(0, 0.9, "one")) == {"unexplained"}  # before the delivery came
    assert kinds(twice().stream(0, 2.0, "two")) == {"unexplained"}


@pytest.mark.parametrize(("what", "target"), [("pause", "server:0"), ("stall", "link:0"), ("stall", "host")])
def test_a_replica_that_is_out_of_touch_for_long_explains_another_delivery(what: str, target: str) -> None:
    assert kinds(twice().outage(what, target, 1.5, 3.6)) == set()
    assert kinds(twice().outage(what, target, 1.5, 3.0)) == {"unexplained"}


def test_an_unreachable_redis_explains_nothing() -> None:
    assert kinds(twice().outage("kill", "redis", 1.2, 3.8)) == {"unexplained"}
    assert kinds(twice().outage("kill", "redis", 1.2, 3.0).outage("stall", "link:0", 3.1, 3.5)) == set()


def test_faults_of_another_replica_explain_nothing() -> None:
    assert kinds(twice().outage("pause", "server:1", 1.5, 3.8).outage("kill", "server:1", 2, 3)) == {"unexplained"}


def test_a_slow_link_explains_nothing() -> None:
    assert kinds(twice().outage("delay", "link:0", 1, 4)) == {"unexplained"}


def test_short_outages_in_a_row_are_a_long_one() -> None:
    builder = twice().outage("pause", "server:0", 1, 2).outage("stall", "link:0", 2.5, 3.5)
    assert kinds(builder) == set()


# --- keys -----------------------------------------------------------------------------------------------------------

SECOND_EVENT: dict[str, Any] = {"name": "second", "event_id": "other"}


def with_a_key() -> HistoryBuilder:
    """A history in which a second event with the same key was dispatched after the first."""
    builder = HistoryBuilder()
    builder.history.dispatched[0].key = "k"
    builder.history.dispatched.append(Dispatched("second", 0, 0, "other", key="k"))
    return builder


def test_events_with_a_key_one_after_the_other() -> None:
    builder = with_a_key().delivered(1, 1).settled(2, ACK, 1)
    report = builder.delivered(2.1, 2, **SECOND_EVENT).settled(3, ACK, 2).check()
    assert report.kinds() == set()
    assert report.ordered == {(GROUP, "k"): 2}


def test_a_dead_letter_or_an_ack_that_was_never_answered_makes_way() -> None:
    dead = with_a_key().delivered(1, 1).settled(2, NACK, 1, final=True).left("dead")
    unanswered = with_a_key().delivered(1, 1).settled(2, ACK, 1, UNKNOWN)
    for builder in (dead, unanswered):
        assert kinds(builder.delivered(2.1, 2, **SECOND_EVENT).settled(3, ACK, 2)) == set()


@pytest.mark.parametrize(
    ("at", "verb", "more"), [(3, ACK, {}), (2, ACK, {"outcome": "EXPIRED"}), (2, NACK, {"delay": 0}), (2, EXTEND, {})]
)
def test_an_event_that_is_not_over_does_not_make_way(at: float, verb: str, more: dict[str, Any]) -> None:
    builder = with_a_key().delivered(1, 1).settled(at, verb, 1, **more).left("ready")
    assert kinds(builder.delivered(2.1, 2, **SECOND_EVENT).settled(4, ACK, 2)) == {"not over"}


def test_an_event_that_comes_back_after_the_next_one() -> None:
    builder = with_a_key().delivered(1, 1).settled(2, ACK, 1, UNKNOWN).delivered(2.1, 2, **SECOND_EVENT)
    assert kinds(builder.settled(3, ACK, 2).delivered(40, 3).settled(41, ACK, 3)) == {"not over"}


def test_the_event_that_was_due_later_does_not_come_first() -> None:
    builder = with_a_key().delivered(1, 1, **SECOND_EVENT, due=us(0.5)).settled(2, ACK, 1)
    assert kinds(builder.delivered(2.1, 2, due=us(0.4)).settled(3, ACK, 2)) == {"out of order"}
    assert kinds(builder.delivered(2.1, 2, due=us(0.5)).settled(3, ACK, 2)) >= {"out of order"}


def test_an_event_that_was_not_due_holds_up_nobody() -> None:
    builder = with_a_key().delivered(1, 1, **SECOND_EVENT, due=us(0.5)).settled(2, ACK, 1)
    assert kinds(builder.delivered(5, 2, due=us(5)).settled(6, ACK, 2)) == set()


def test_the_fencing_tokens_of_a_key_grow() -> None:
    builder = with_a_key().delivered(1, 2).settled(2, ACK, 2)
    assert kinds(builder.delivered(2.1, 1, **SECOND_EVENT).settled(3, ACK, 1)) >= {"out of order"}


def test_an_event_that_waits_for_its_key_is_not_late() -> None:
    builder = with_a_key().delivered(1, 1).settled(40, ACK, 1)
    assert kinds(builder.delivered(40.1, 2, **SECOND_EVENT).settled(41, ACK, 2)) == set()
    late = with_a_key().delivered(1, 1).settled(2, ACK, 1)
    assert kinds(late.delivered(40.1, 2, **SECOND_EVENT).settled(41, ACK, 2)) == {"late"}


# --- the rest -------------------------------------------------------------------------------------------------------


def test_one_event_under_two_ids() -> None:
    builder = HistoryBuilder().delivered(1, 1).settled(2, ACK, 1)
    builder.delivered(1, 2, event_id="other").settled(2, ACK, 2)
    assert kinds(builder) == {"stored twice"}


def test_an_event_that_nobody_dispatched() -> None:
    builder = HistoryBuilder().delivered(1, 1).settled(2, ACK, 1)
    builder.delivered(1, 2, name="what", event_id="other").settled(2, ACK, 2)
    assert kinds(builder) == {"unknown"}


def test_an_event_that_waits_though_all_works() -> None:
    late = HistoryBuilder().delivered(LATE / SECOND + 0.1, 1).settled(40, ACK, 1)
    assert kinds(late) == {"late"}
    assert kinds(late.outage("pause", "redis", 3, 3.2)) == set()


def test_an_event_that_waits_for_the_lease_of_a_dead_worker() -> None:
    assert kinds(twice(20.0).outage("kill", "worker:one", 2, 2.1)) == {"late"}


def thrice(*attempts: int) -> HistoryBuilder:
    """Deliveries at seconds 1, 2 and 20 with these attempts. The first two workers were killed."""
    builder = HistoryBuilder().stream(0, None, "one").stream(0, None, "two", "1").stream(0, None, "three")
    builder.outage("kill", "worker:one", 1.5, 1.5).outage("kill", "worker:two", 2.5, 2.5)
    for at, fence, worker, attempt in zip((1, 2, 20), (1, 2, 3), ("one", "two", "three"), attempts, strict=True):
        builder.delivered(at, fence, worker, attempt=attempt)
    return builder.settled(21, ACK, 3)


@pytest.mark.parametrize("attempts", [(1, 2, 3), (1, 1, 3), (3, 3, 3)])
def test_a_suspect_waits_for_its_turn(attempts: tuple[int, int, int]) -> None:
    """Attempts that reached no worker count as leases that ran out."""
    assert kinds(thrice(*attempts)) == set()


@pytest.mark.parametrize("attempts", [(1, 1, 1), (1, 2, 2), (2, 2, 2)])
def test_an_event_of_which_fewer_than_two_leases_ran_out_is_no_suspect(attempts: tuple[int, int, int]) -> None:
    assert kinds(thrice(*attempts)) == {"late"}


def test_attempts_that_were_nacked_make_no_suspect() -> None:
    assert kinds(thrice(1, 2, 3).settled(2.4, NACK, 2)) == {"late"}
    assert kinds(thrice(1, 2, 3).settled(2.4, NACK, 2, UNKNOWN, error="the lease expired")) == set()
    assert kinds(thrice(1, 2, 4).settled(2.4, NACK, 2, release=True)) == set()


# --- journals -------------------------------------------------------------------------------------------------------


def test_journals_are_read(tmp_path: Path) -> None:
    producer = Journal(tmp_path / "producer-0-0.jsonl")
    producer.write("dispatch", at=10, request="r", events=[{"name": "name", "delay": 5, "key": "k"}])
    producer.write("accepted", at=20, request="r", ids=["id"])
    worker = Journal(tmp_path / "worker-0-0.jsonl")
    worker.write("worker", group=GROUP)
    worker.write("stream", at=21, stream=0, server="1")
    times = {"granted": 29, "expires": 129, "due": 15}
    fields = {"name": "name", "event_id": "id", **times, "attempt": 1, "last_error": ""}
    worker.write("delivery", at=30, stream=0, fence=7, **fields)
    worker.write("call", at=40, call=0, verb=EXTEND, leases=[{"fence": 7, "lease": 100}])
    worker.write("answer", at=41, call=0, failed={7: "EXPIRED"})
    worker.write("call", at=50, call=1, verb=ACK, leases=[{"fence": 7}])
    worker.write("handled", at=55, fence=7)
    worker.write("stream_end", at=60, stream=0)
    conductor = Journal(tmp_path / "conductor.jsonl")
    conductor.write("groups", groups=[GROUP])
    conductor.write("outage", what="kill", target="redis", began=1, ended=2)
    conductor.write("left", group=GROUP, event_id="id", state="dead")
    for journal in (producer, worker, conductor):
        journal.close()

    name = "worker-0-0"
    assert read_history(tmp_path) == History(
        groups=[GROUP],
        dispatched=[Dispatched("name", 10, 5, "id", key="k")],
        deliveries=[Delivery(GROUP, name, "name", "id", 7, granted=29, came=30, expires=129, due=15)],
        settles=[Settle(GROUP, EXTEND, 7, 40, "EXPIRED", lease=100), Settle(GROUP, ACK, 7, 50, UNKNOWN)],
        streams=[Stream(name, "1", 21, 60)],
        outages=[Outage("kill", "redis", 1, 2)],
        left=[Left(GROUP, "id", "dead")],
        handlers_ended={(GROUP, 7): 55},
    )


def test_an_unfinished_line_is_skipped(tmp_path: Path) -> None:
    path = tmp_path / "worker-0-0.jsonl"
    journal = Journal(path)
    journal.write("worker", group=GROUP)
    journal.write("stream", at=1, stream=0, server="0")
    journal.close()
    with path.open("ab") as file:
        file.write(b'{"kind": "stream_e')
    assert read_history(tmp_path).streams == [Stream("worker-0-0", "0", 1, None)]
