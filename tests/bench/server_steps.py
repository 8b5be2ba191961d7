"""Times what a server with the local engine does for each event, step by step and without sockets.

``PYTHONPATH=tests .venv/bin/python -m bench.server_steps`` prints CPU microseconds an event, the best of several
rounds: the others had to share the machine.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections import defaultdict
from typing import TYPE_CHECKING

from duebus.v1 import event_bus_pb2
from duebus_server.bus.dispatching import Dispatching
from duebus_server.bus.engines import Engines, EngineStatus, RunningEngine
from duebus_server.bus.settling import Settling
from duebus_server.bus.subscribing import Subscribing, Subscription
from duebus_server.delivery.frames import Deliveries, Frame
from duebus_server.delivery.window import MAX_FRAME_EVENTS
from duebus_server.domain.clock import SECOND, SystemClock
from duebus_server.domain.lease_token import LeaseTokens
from duebus_server.domain.views import TopicConfig
from duebus_server.engine.local import LocalEngine
from duebus_server.ops.gc_pauses import PauseKeeper
from duebus_server.wire import decode, encode
from duebus_server.wire.deliveries import DeliveryEncoder
from duebus_server.wire.schedule_codec import ScheduleCodec
from duebus_server.wire.unknown_fields import refuse_unknown_fields

if TYPE_CHECKING:
    from collections.abc import Awaitable, Iterator, Sequence

TOPIC = "bench"
BATCH = MAX_FRAME_EVENTS
"""How many events a round dispatches; they are delivered in one frame and acked in one call."""
ROUNDS = 40


class Steps:
    """Microseconds an event of each step, one figure a round."""

    def __init__(self) -> None:
        self._taken: dict[str, list[float]] = defaultdict(list)

    def note(self, name: str, begun_ns: int, events: int) -> None:
        """Record a step that began then and has just ended."""
        self._taken[name].append((time.perf_counter_ns() - begun_ns) / 1_000 / events)

    def __iter__(self) -> Iterator[tuple[str, float]]:
        return ((name, min(taken)) for name, taken in self._taken.items())


async def measure() -> Steps:
    """All steps, in rounds."""
    clock = SystemClock()
    engine = LocalEngine(clock, TopicConfig(max_queued=0))
    await engine.start()
    running = RunningEngine.of(engine, clock, ScheduleCodec())
    running.status = EngineStatus.SERVING
    engines = Engines([running])
    tokens = LeaseTokens({engine.name: engine.lease_token_key})
    steps = Steps()
    PauseKeeper().install()
    command = decode.subscribe_command(event_bus_pb2.SubscribeRequest(topic=TOPIC, max_in_flight=2_000))
    async with Subscribing(engines, tokens, SECOND).subscribe(command) as subscription:
        frames = subscription.session.frames()
        for _ in range(ROUNDS):
            coming = asyncio.ensure_future(anext(frames))
            await asyncio.sleep(0)  # the session waits, so the dispatch hands over to it
            await _dispatch(steps, Dispatching(engines), clock)
            await _ack(steps, Settling(engines, tokens), await _deliver(steps, subscription, coming))
    await engine.stop()
    return steps


async def _dispatch(steps: Steps, dispatching: Dispatching, clock: SystemClock) -> None:
    data = os.urandom(200)
    sent = event_bus_pb2.DispatchRequest(topic=TOPIC, events=[event_bus_pb2.Event(data=data) for _ in range(BATCH)])
    received = sent.SerializeToString()
    begun = time.perf_counter_ns()
    request = event_bus_pb2.DispatchRequest.FromString(received)
    refuse_unknown_fields(request)
    steps.note("dispatch: parse", begun, BATCH)
    begun = time.perf_counter_ns()
    command = decode.dispatch_command(request, "ipv4:127.0.0.1:1234", clock.now_us())
    steps.note("dispatch: decode", begun, BATCH)
    begun = time.perf_counter_ns()
    answer = await dispatching.dispatch(command)
    steps.note("dispatch: store", begun, BATCH)
    begun = time.perf_counter_ns()
    encode.dispatch_response(answer).SerializeToString()
    steps.note("dispatch: answer", begun, BATCH)


async def _deliver(steps: Steps, subscription: Subscription, coming: Awaitable[Frame]) -> Sequence[str]:
    begun = time.perf_counter_ns()
    frame = await coming
    assert isinstance(frame, Deliveries)
    count = len(frame.events)
    steps.note("deliver: frame", begun, count)
    begun = time.perf_counter_ns()
    sent = list(encode.frame_responses(frame, DeliveryEncoder(subscription.tokens)))
    steps.note("deliver: encode", begun, count)
    responses = [event_bus_pb2.SubscribeResponse.FromString(one) for one in sent]
    return [delivery.lease_token for response in responses for delivery in response.deliveries.deliveries]


async def _ack(steps: Steps, settling: Settling, lease_tokens: Sequence[str]) -> None:
    received = event_bus_pb2.AckRequest(lease_tokens=lease_tokens).SerializeToString()
    begun = time.perf_counter_ns()
    request = event_bus_pb2.AckRequest.FromString(received)
    refuse_unknown_fields(request)
    steps.note("ack: parse", begun, len(lease_tokens))
    begun = time.perf_counter_ns()
    failures = await settling.ack(decode.lease_tokens(request))
    assert not failures
    steps.note("ack: settle", begun, len(lease_tokens))


def main() -> None:
    """Print the steps and their sum."""
    steps = dict(asyncio.run(measure()))
    for name, taken_us in steps.items():
        print(f"{name:20}{taken_us:6.2f} us")  # noqa: T201  # a command-line program
    print(f"{'sum':20}{sum(steps.values()):6.2f} us")  # noqa: T201  # as above


if __name__ == "__main__":
    main()
