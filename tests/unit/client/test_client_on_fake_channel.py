"""The sync client on grpc's fake channel, with a fake clock: requests, retries and results."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import grpc
import grpc_testing
import pytest
from duebus import Client, Delivery, Dispatched, LeaseFailure, LeaseFailureReason, Started, errors
from duebus.v1 import event_bus_pb2
from unit.client.fake_bus import LOST, STARTED, Failure, deliveries

METHODS = event_bus_pb2.DESCRIPTOR.services_by_name["EventBus"].methods_by_name
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
EXHAUSTED = grpc.StatusCode.RESOURCE_EXHAUSTED

T = TypeVar("T")


class Bench:
    """A client on a fake channel, whose calls run on their own thread while the test plays the server."""

    def __init__(self, threads: ThreadPoolExecutor, **arguments: Any) -> None:
        self.time = grpc_testing.strict_fake_time(1000.0)
        self.pauses: list[float] = []
        self.channel = grpc_testing.channel([event_bus_pb2.DESCRIPTOR.services_by_name["EventBus"]], self.time)
        self.client = Client(
            channel=self.channel, clock=self.time.time, sleep=self._sleep, random=lambda: 0.5, **arguments
        )
        self._threads = threads

    def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.time.sleep_for(seconds)

    def call(self, method: Callable[..., T], *arguments: Any, **named: Any) -> "Future[T]":
        return self._threads.submit(method, *arguments, **named)

    def take(self, rpc: str) -> tuple[dict[str, str], Any, Any]:
        metadata, request, server = self.channel.take_unary_unary(METHODS[rpc])
        return dict(metadata), request, server

    def reply(self, rpc: str, response: Any) -> Any:
        _, request, server = self.take(rpc)
        server.terminate(response, (), grpc.StatusCode.OK, "")
        return request

    def fail(self, rpc: str, failure: Failure) -> Any:
        _, request, server = self.take(rpc)
        server.terminate(None, failure.trailing_metadata(), failure.code, failure.message)
        return request


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


@pytest.fixture
def bench(threads: ThreadPoolExecutor) -> Bench:
    return Bench(threads)


def dispatched(*ids: str) -> event_bus_pb2.DispatchResponse:
    return event_bus_pb2.DispatchResponse(event_ids=ids)


def test_a_dispatch_sends_the_event_and_returns_its_id(bench: Bench) -> None:
    result = bench.call(bench.client.dispatch, "orders", {"id": 42}, delay=2, attributes={"trace": "7"})
    request = bench.reply("Dispatch", dispatched("e-1"))

    assert result.result(10) == Dispatched("e-1", False)
    assert request.topic == "orders"
    assert request.events[0].data == b'{"id":42}'
    assert request.events[0].delay.seconds == 2
    assert dict(request.events[0].attributes) == {"trace": "7"}


def test_many_events_are_sent_in_one_request(bench: Bench) -> None:
    result = bench.call(bench.client.dispatch_many, "orders", ["a", "b"], require_subscriber=True)
    request = bench.reply("Dispatch", dispatched("1", "2"))

    assert [each.event_id for each in result.result(10)] == ["1", "2"]
    assert [each.data for each in request.events] == [b"a", b"b"]
    assert request.require_subscriber


def test_a_call_to_an_unavailable_server_is_retried_with_the_same_request(bench: Bench) -> None:
    result = bench.call(bench.client.dispatch, "orders", "x")
    first = bench.fail("Dispatch", LOST)
    second = bench.fail("Dispatch", Failure(UNAVAILABLE, "draining", "DISPATCHER_NOT_WORKING"))
    third = bench.reply("Dispatch", dispatched("e-1"))

    assert result.result(10).event_id == "e-1"
    assert first.request_id
    assert first == second == third
    assert bench.pauses == pytest.approx([0.1, 0.2])


def test_the_retry_delay_of_the_server_is_honoured(bench: Bench) -> None:
    result = bench.call(bench.client.dispatch, "orders", "x")
    bench.fail("Dispatch", Failure(UNAVAILABLE, "draining", "DISPATCHER_NOT_WORKING", retry_after=0.75))
    bench.reply("Dispatch", dispatched("e-1"))

    result.result(10)
    assert bench.pauses == pytest.approx([0.75])


def test_after_the_timeout_the_real_error_is_raised(bench: Bench) -> None:
    result = bench.call(bench.client.dispatch, "orders", "x", timeout=1)
    for _ in range(4):
        bench.fail("Dispatch", LOST)

    with pytest.raises(errors.Unavailable, match="the server can't be reached: Socket closed"):
        result.result(10)
    assert bench.pauses == pytest.approx([0.1, 0.2, 0.4])
    assert bench.time.time() < 1001.0


def test_a_full_topic_is_reported_at_once(bench: Bench) -> None:
    result = bench.call(bench.client.dispatch, "orders", "x")
    bench.fail("Dispatch", Failure(EXHAUSTED, "orders is full", "MAX_QUEUED_EVENTS_REACHED", retry_after=0.1))

    with pytest.raises(errors.MaxQueuedEventsReached, match="orders is full"):
        result.result(10)
    assert bench.pauses == []


def test_an_argument_that_cannot_be_sent_never_reaches_the_channel(bench: Bench) -> None:
    with pytest.raises(errors.InvalidArgument, match=r"^delay: "):
        bench.client.dispatch("orders", "x", delay=float("nan"))


def test_failures_of_an_ack_are_returned(bench: Bench) -> None:
    result = bench.call(bench.client.ack, "a", "b")
    failure = event_bus_pb2.LeaseFailure(lease_token="b", reason=event_bus_pb2.LeaseFailure.REASON_SETTLED)
    bench.reply("Ack", event_bus_pb2.AckResponse(failures=[failure]))

    assert result.result(10) == [LeaseFailure("b", LeaseFailureReason.SETTLED)]


def test_an_ack_whose_first_answer_was_lost_is_not_a_failure(bench: Bench) -> None:
    result = bench.call(bench.client.ack, "a", "b")
    bench.fail("Ack", LOST)
    reason = event_bus_pb2.LeaseFailure
    bench.reply(
        "Ack",
        event_bus_pb2.AckResponse(
            failures=[
                event_bus_pb2.LeaseFailure(lease_token="a", reason=reason.REASON_SETTLED),
                event_bus_pb2.LeaseFailure(lease_token="b", reason=reason.REASON_EXPIRED),
            ]
        ),
    )

    assert result.result(10) == [LeaseFailure("b", LeaseFailureReason.EXPIRED)]


def test_a_nack_is_sent_with_its_action(bench: Bench) -> None:
    result = bench.call(bench.client.nack, "a", error="boom", dead_letter=True)
    request = bench.reply("Nack", event_bus_pb2.NackResponse())

    assert result.result(10) == []
    assert request.nacks[0] == event_bus_pb2.Nack(lease_token="a", error="boom", dead_letter=True)


def test_a_lease_is_extended(bench: Bench) -> None:
    result = bench.call(bench.client.extend, ["a"], 5)
    request = bench.reply("Extend", event_bus_pb2.ExtendResponse())

    assert result.result(10) == []
    assert (list(request.lease_tokens), request.lease.seconds) == (["a"], 5)


def test_a_stop_is_not_retried(bench: Bench) -> None:
    result = bench.call(bench.client.stop)
    bench.fail("Stop", LOST)

    with pytest.raises(errors.Unavailable):
        result.result(10)
    assert bench.pauses == []


def test_the_token_is_sent_with_each_call(threads: ThreadPoolExecutor) -> None:
    bench = Bench(threads, token="s3cret")
    bench.call(bench.client.ack, "a")

    metadata, _, server = bench.take("Ack")
    server.terminate(event_bus_pb2.AckResponse(), (), grpc.StatusCode.OK, "")

    assert metadata["authorization"] == "Bearer s3cret"


def test_calls_of_a_closed_client_fail(bench: Bench) -> None:
    bench.client.close()
    bench.client.close()

    with pytest.raises(errors.ClientClosed):
        bench.client.ack("a")
    with pytest.raises(errors.ClientClosed):
        bench.client.subscribe("orders").__enter__()


def test_closing_the_client_ends_the_retries(bench: Bench) -> None:
    def close_instead_of_sleeping(_seconds: float) -> None:
        client.close()

    client = Client(channel=bench.channel, clock=bench.time.time, sleep=close_instead_of_sleeping)
    result = bench.call(client.ack, "a")
    bench.fail("Ack", LOST)

    with pytest.raises(errors.ClientClosed):
        result.result(10)


# --- subscribing


def consume(bench: Bench, seen: list[Delivery], **arguments: Any) -> Started:
    with bench.client.subscribe("orders", **arguments) as subscription:
        started = subscription.started()
        seen.extend(subscription)
        return started


def test_a_subscription_yields_deliveries_until_the_server_ends_it(bench: Bench) -> None:
    seen: list[Delivery] = []
    result = bench.call(consume, bench, seen, group="audit")
    _, request, server = bench.channel.take_unary_stream(METHODS["Subscribe"])
    server.send_response(STARTED)
    server.send_response(deliveries("a", "b"))
    server.send_response(deliveries("c"))
    server.terminate((), grpc.StatusCode.OK, "")

    assert result.result(10).session_id == "session-1"
    assert request.group == "audit"
    assert [each.event_id for each in seen] == ["a", "b", "c"]


def test_a_broken_stream_raises_after_its_deliveries(bench: Bench) -> None:
    subscription = bench.client.subscribe("orders")
    entered = bench.call(subscription.__enter__)
    _, _, server = bench.channel.take_unary_stream(METHODS["Subscribe"])
    server.send_response(STARTED)
    entered.result(10)
    server.send_response(deliveries("a"))

    assert next(subscription).event_id == "a"

    server.terminate((), UNAVAILABLE, "Socket closed")
    with pytest.raises(errors.Unavailable, match="Socket closed"):
        next(subscription)
    assert list(subscription) == []


def test_a_subscription_is_not_retried(bench: Bench) -> None:
    entered = bench.call(bench.client.subscribe("orders").__enter__)
    _, _, server = bench.channel.take_unary_stream(METHODS["Subscribe"])
    server.terminate((), UNAVAILABLE, "Socket closed")

    with pytest.raises(errors.Unavailable):
        entered.result(10)
    assert bench.pauses == []


def test_a_stream_that_does_not_begin_with_started_is_an_error(bench: Bench) -> None:
    entered = bench.call(bench.client.subscribe("orders").__enter__)
    _, _, server = bench.channel.take_unary_stream(METHODS["Subscribe"])
    server.send_response(deliveries("a"))

    with pytest.raises(errors.InternalError, match="Deliveries"):
        entered.result(10)
    server.cancelled()


def test_a_subscription_must_be_entered_and_only_once(bench: Bench) -> None:
    subscription = bench.client.subscribe("orders")
    with pytest.raises(RuntimeError, match="enter the subscription first"):
        next(subscription)
    entered = bench.call(subscription.__enter__)
    _, _, server = bench.channel.take_unary_stream(METHODS["Subscribe"])
    server.send_response(STARTED)
    entered.result(10)

    with pytest.raises(RuntimeError, match="once"):
        subscription.__enter__()
