"""The channels of a client: one for each server, used in turn. gRPC does the same with the addresses of a name."""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from duebus._core.backoff import Random
from duebus._core.call import Method, serialize
from duebus._core.retry import Clock

__all__ = ["Servers"]

# How many seconds a server that could not be reached is skipped, as long as there are others.
_LEFT_OUT = 5.0

_ChannelT = TypeVar("_ChannelT", bound=Any)


class Servers(Generic[_ChannelT]):
    """Chooses the server of the next call: each in turn, recently unreachable ones last.

    The first is chosen at random, so that clients which start together do not all begin with the same one.

    Args:
        targets: At least one server, as `host:port` or any other name that gRPC resolves.
        open_channel: Opens a channel to a target. It is called for the target's first call.
    """

    def __init__(
        self, targets: Sequence[str], open_channel: Callable[[str], _ChannelT], clock: Clock, random: Random
    ) -> None:
        self._targets = targets
        self._open_channel = open_channel
        self._clock = clock
        self._channels: dict[int, _ChannelT] = {}
        self._rpcs: dict[tuple[int, str], Callable[..., Any]] = {}
        # Unary calls and streams have turns of their own: with two servers, one ack between two streams would otherwise
        # send both to the same server.
        self._next = dict.fromkeys((False, True), int(random() * len(targets)))
        self._left_out_until = [0.0] * len(targets)

    @property
    def channels(self) -> list[_ChannelT]:
        """The open channels."""
        return list(self._channels.values())

    def take_turn(self, method: Method[Any]) -> int:
        """The number of the server that gets the next call of this kind."""
        if len(self._targets) == 1:
            return 0
        now = self._clock()
        turns = [(self._next[method.streams] + step) % len(self._targets) for step in range(len(self._targets))]
        server = next((each for each in turns if self._left_out_until[each] <= now), turns[0])
        self._next[method.streams] = server + 1
        return server

    def leave_out(self, server: int) -> None:
        """Record that a server could not be reached."""
        self._left_out_until[server] = self._clock() + _LEFT_OUT

    def rpc(self, server: int, method: Method[Any]) -> Callable[..., Any]:
        """The callable for a method of that server."""
        key = (server, method.path)
        rpc = self._rpcs.get(key)
        if rpc is None:
            rpc = self._rpcs[key] = self._make_rpc(server, method)
        return rpc

    def _make_rpc(self, server: int, method: Method[Any]) -> Callable[..., Any]:
        channel = self._channels.get(server)
        if channel is None:
            channel = self._channels[server] = self._open_channel(self._targets[server])
        make = channel.unary_stream if method.streams else channel.unary_unary
        rpc: Callable[..., Any] = make(
            method.path, request_serializer=serialize, response_deserializer=method.response.FromString
        )
        return rpc
