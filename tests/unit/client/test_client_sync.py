"""The sync client over a real socket: what the fake channel can't show - threads, signals, deadlines, connections."""

import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest
from duebus import Client, Closing, ClosingReason, Deliveries, Delivery, Started, errors
from duebus.v1 import event_bus_pb2
from unit.client.fake_bus import LOST, STARTED, Failure, FakeBus, deliveries


@pytest.fixture
def client(bus: FakeBus) -> Iterator[Client]:
    with Client(bus.target, timeout=10) as client:
        yield client


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as threads:
        yield threads


def ids(events: Iterator[Delivery]) -> list[str]:
    return [each.event_id for each in events]


def test_a_dispatch_whose_answer_is_lost_is_retried(bus: FakeBus, client: Client) -> None:
    bus.answer("Dispatch", LOST)

    assert client.dispatch("orders", "x").event_id == "event-0"
    first, second = bus.requests["Dispatch"]
    assert first == second


def test_a_restarted_server_is_found_again(bus: FakeBus, threads: ThreadPoolExecutor) -> None:
    failed = threading.Event()

    def sleep(seconds: float) -> None:
        failed.set()
        threading.Event().wait(seconds)

    with Client(bus.target, timeout=10, sleep=sleep) as client:
        client.dispatch("orders", "before")
        bus.stop()
        dispatching = threads.submit(client.dispatch, "orders", "after")
        assert failed.wait(10)
        reborn = FakeBus(bus.port)
        try:
            assert dispatching.result(10).event_id == "event-0"
        finally:
            reborn.stop()


def test_an_unreachable_server_is_reported_after_the_timeout() -> None:
    with (
        Client("127.0.0.1:1", timeout=2) as client,
        pytest.raises(errors.Unavailable, match=r"can't be reached: .*127\.0\.0\.1:1"),
    ):
        client.dispatch("orders", "x")


FORKING = """
import os, sys
from duebus import Client
client = Client(sys.argv[1], timeout=10)
client.dispatch("orders", "before")
child = os.fork()
client.dispatch("orders", "after")
if child == 0:
    os._exit(0)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_client_keeps_working_in_both_processes_after_a_fork(bus: FakeBus) -> None:
    subprocess.run([sys.executable, "-c", FORKING, bus.target], check=True, timeout=180)

    payloads = [event.data for each in bus.requests["Dispatch"] for event in each.events]
    assert sorted(payloads) == [b"after", b"after", b"before"]


@pytest.mark.parametrize("timeout", [timedelta(days=36_500), timedelta.max])
def test_a_timeout_may_be_as_long_as_a_timedelta(bus: FakeBus, client: Client, timeout: timedelta) -> None:
    assert client.dispatch("orders", "x", timeout=timeout).event_id == "event-0"
    with client.subscribe("orders", timeout=timeout) as subscription:
        assert subscription.started().session_id == "session-1"


def test_many_threads_share_a_client(bus: FakeBus, client: Client, threads: ThreadPoolExecutor) -> None:
    results = threads.map(lambda number: client.dispatch("orders", number, id=str(number)).event_id, range(50))

    assert list(results) == [str(number) for number in range(50)]
    assert len({each.request_id for each in bus.requests["Dispatch"]}) == 50


def test_closing_the_client_ends_calls_under_way(bus: FakeBus, client: Client, threads: ThreadPoolExecutor) -> None:
    arrived, late = threading.Event(), threading.Event()

    def wait(_request: Any, _context: grpc.ServicerContext) -> event_bus_pb2.AckResponse:
        arrived.set()
        late.wait(10)
        return event_bus_pb2.AckResponse()

    bus.answer("Ack", wait)
    acking = threads.submit(client.ack, "a")
    assert arrived.wait(10)
    client.close()

    with pytest.raises(errors.ClientClosed):
        acking.result(10)
    late.set()


def test_a_channel_of_the_caller_is_left_open(bus: FakeBus) -> None:
    with grpc.insecure_channel(bus.target) as channel:
        for _ in range(2):
            with Client(channel=channel) as client:
                client.ack("a")

    with Client(channel=channel) as client, pytest.raises(errors.ClientClosed):
        client.ack("a")


def test_frames_are_yielded_as_they_were_sent(bus: FakeBus, client: Client) -> None:
    closing = event_bus_pb2.Closing(reason=event_bus_pb2.Closing.REASON_GROUP_DELETED)
    with client.subscribe("orders") as subscription:
        stream = bus.next_stream()
        stream.send(deliveries("a"), event_bus_pb2.SubscribeResponse(closing=closing))
        stream.end()
        started, batch, last = subscription.frames()

    assert isinstance(started, Started)
    assert isinstance(batch, Deliveries)
    assert isinstance(last, Closing)
    assert subscription.closing == last
    assert last.reason is ClosingReason.GROUP_DELETED


def test_a_broken_stream_raises(bus: FakeBus, client: Client) -> None:
    with client.subscribe("orders") as subscription:
        bus.next_stream().fail(Failure(grpc.StatusCode.UNAVAILABLE, "away", "DISPATCHER_NOT_WORKING"))

        with pytest.raises(errors.DispatcherNotWorking):
            next(subscription)


def test_a_stream_that_never_starts_is_an_error_after_the_timeout(bus: FakeBus, client: Client) -> None:
    bus.starts_streams = False

    with (
        pytest.raises(errors.DeadlineExceeded, match=r"did not start the subscription within 1\.0 s"),
        client.subscribe("orders", timeout=1),
    ):
        pass
    assert bus.next_stream().ended.wait(10)


def test_a_stream_that_has_started_has_no_deadline(bus: FakeBus, threads: ThreadPoolExecutor) -> None:
    bus.starts_streams = False
    with Client(bus.target, timeout=3) as client:
        subscription = client.subscribe("orders")
        entered = threads.submit(subscription.__enter__)
        stream = bus.next_stream()
        stream.send(STARTED)
        entered.result(10)
        assert not stream.ended.wait(3.5)
        stream.send(deliveries("a"))
        assert next(subscription).event_id == "a"
        subscription.close()


def test_unseen_deliveries_are_released(bus: FakeBus, client: Client) -> None:
    with client.subscribe("orders") as subscription:
        stream = bus.next_stream()
        stream.send(deliveries("a", "b", "c"))
        assert next(subscription).event_id == "a"

    (request,) = bus.requests["Nack"]
    assert [(each.lease_token, each.release) for each in request.nacks] == [
        ("lease-of-b", True),
        ("lease-of-c", True),
    ]
    assert stream.ended.wait(10)


def test_closing_from_another_thread_ends_the_iteration(
    bus: FakeBus, client: Client, threads: ThreadPoolExecutor
) -> None:
    with client.subscribe("orders") as subscription:
        seen: queue.Queue[str] = queue.Queue()

        def iterate() -> None:
            for each in subscription:
                seen.put(each.event_id)

        iterating = [threads.submit(iterate) for _ in range(3)]
        bus.next_stream().send(deliveries("a"))
        assert seen.get(timeout=10) == "a"
        subscription.close()

        for each in iterating:
            assert each.result(10) is None
        assert seen.empty()


def test_closing_the_client_ends_its_subscriptions(bus: FakeBus, client: Client, threads: ThreadPoolExecutor) -> None:
    with client.subscribe("orders") as subscription:
        iterating = threads.submit(ids, subscription)
        client.close()

        assert iterating.result(10) == []


def test_a_signal_handler_may_close_what_its_own_thread_is_reading(bus: FakeBus, client: Client) -> None:
    with client.subscribe("orders") as subscription:
        before = signal.signal(signal.SIGUSR1, lambda *_: subscription.close())
        try:
            bus.next_stream().send(deliveries("a"))
            assert next(subscription).event_id == "a"
            main = threading.main_thread().ident
            assert main is not None
            timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGUSR1))
            timer.start()
            assert ids(subscription) == []
        finally:
            signal.signal(signal.SIGUSR1, before)


def test_threads_share_a_subscription(bus: FakeBus, client: Client, threads: ThreadPoolExecutor) -> None:
    with client.subscribe("orders") as subscription:
        both = [threads.submit(ids, subscription) for _ in range(2)]
        stream = bus.next_stream()
        stream.send(deliveries("a", "b"), deliveries("c"))
        stream.end()

        assert sorted(each for one in both for each in one.result(10)) == ["a", "b", "c"]


def test_a_request_too_large_for_any_server_is_bad_input(bus: FakeBus, client: Client) -> None:
    # The fake bus reads 4 MiB, as every gRPC server does by default.
    with pytest.raises(errors.InvalidArgument, match=r"^request: is larger than a message may be"):
        client.dispatch("orders", bytes(5 * 1024 * 1024))
