"""Which of several servers gets a call."""

from typing import Any

import pytest
from duebus._core.call import SUBSCRIBE, Method
from duebus._core.servers import Servers
from duebus._core.settings import make_settings
from duebus.errors import InvalidArgument
from duebus.v1 import event_bus_pb2


class FakeChannel:
    def __init__(self, target: str) -> None:
        self.target = target

    def unary_stream(self, path: str, **_: Any) -> str:
        return f"{self.target}{path}"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def path_of(rpc: Any) -> str:
    return str(rpc)


UNARY = Method("/duebus.v1.EventBus/Ack", event_bus_pb2.AckResponse)


def servers(count: int, clock: Clock, random: float = 0.0) -> Servers[FakeChannel]:
    return Servers([f"server-{each}" for each in range(count)], FakeChannel, clock, lambda: random)


def turns(of: Servers[FakeChannel], count: int) -> list[int]:
    return [of.take_turn(UNARY) for _ in range(count)]


def test_servers_are_used_in_turn() -> None:
    assert turns(servers(3, Clock()), 7) == [0, 1, 2, 0, 1, 2, 0]


@pytest.mark.parametrize(("random", "first"), [(0.0, 0), (0.4, 1), (0.99, 2)])
def test_the_first_server_is_chosen_at_random(random: float, first: int) -> None:
    three = servers(3, Clock(), random)
    assert (three.take_turn(UNARY), three.take_turn(SUBSCRIBE)) == (first, first)


def test_a_call_between_two_streams_does_not_send_both_to_the_same_server() -> None:
    two = servers(2, Clock())
    assert [two.take_turn(SUBSCRIBE), two.take_turn(UNARY), two.take_turn(SUBSCRIBE)] == [0, 0, 1]


def test_an_unreachable_server_is_skipped_for_five_seconds() -> None:
    clock = Clock()
    three = servers(3, clock)
    three.leave_out(1)
    assert turns(three, 4) == [0, 2, 0, 2]
    clock.now += 5
    assert turns(three, 3) == [0, 1, 2]


def test_unreachable_servers_are_used_in_turn_if_there_are_no_others() -> None:
    two = servers(2, Clock())
    two.leave_out(0)
    two.leave_out(1)
    assert turns(two, 4) == [0, 1, 0, 1]


def test_a_channel_is_opened_on_the_first_call_to_its_server() -> None:
    three = servers(3, Clock())
    assert path_of(three.rpc(2, SUBSCRIBE)) == "server-2/duebus.v1.EventBus/Subscribe"
    assert three.rpc(2, SUBSCRIBE) is three.rpc(2, SUBSCRIBE)
    assert [each.target for each in three.channels] == ["server-2"]


@pytest.mark.parametrize(
    ("target", "targets"),
    [
        ("127.0.0.1:50051", ("127.0.0.1:50051",)),
        ("a:50051, b:50051", ("a:50051", "b:50051")),
        ("[::1]:1,[::1]:2", ("[::1]:1", "[::1]:2")),
        ("ipv4:10.0.0.1:50051,10.0.0.2:50051", ("ipv4:10.0.0.1:50051,10.0.0.2:50051",)),
        ("dns:///a:50051", ("dns:///a:50051",)),
        ("dns:///a:50051,b:50051", ("dns:///a:50051,b:50051",)),
    ],
)
def test_a_target_is_one_server_or_several(target: str, targets: tuple[str, ...]) -> None:
    assert make_settings(target, None, None, None, ()).targets == targets


@pytest.mark.parametrize("target", ["a:1,", ",a:1", "a:1,,b:1"])
def test_an_empty_server_is_refused(target: str) -> None:
    with pytest.raises(InvalidArgument, match=r"^target: one of the servers"):
        make_settings(target, None, None, None, ())
