"""When a call is retried, and which error is reported."""

from itertools import pairwise

import grpc
import grpc.aio
import pytest
from duebus import errors
from duebus._core.retry import Tries
from unit.client.fake_bus import LOST, Failure

C = grpc.StatusCode
TOO_LATE = Failure(C.DEADLINE_EXCEEDED, "Deadline Exceeded")


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def rpc_error(failure: Failure) -> grpc.RpcError:
    trailing = grpc.aio.Metadata(*failure.trailing_metadata())
    return grpc.aio.AioRpcError(failure.code, grpc.aio.Metadata(), trailing, failure.message, None)


def tries(clock: Clock, *, repeatable: bool = True, timeout: float | None = 30.0, random: float = 0.5) -> Tries:
    return Tries(repeatable=repeatable, timeout=timeout, clock=clock, random=lambda: random)


def test_pauses_double_up_to_a_second() -> None:
    each = tries(Clock())

    pauses = [each.pause_after(rpc_error(LOST)) for _ in range(8)]

    assert pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.0, 1.0, 1.0, 1.0])


@pytest.mark.parametrize(("random", "factor"), [(0.0, 0.8), (0.5, 1.0), (0.999999, 1.2)])
def test_each_pause_varies_by_a_fifth(random: float, factor: float) -> None:
    each = tries(Clock(), random=random)

    assert each.pause_after(rpc_error(LOST)) == pytest.approx(0.1 * factor, rel=1e-4)


def test_the_server_can_lengthen_a_pause_but_not_shorten_it() -> None:
    each = tries(Clock())

    assert each.pause_after(rpc_error(Failure(C.UNAVAILABLE, retry_after=0.9))) == pytest.approx(0.9)
    assert each.pause_after(rpc_error(Failure(C.UNAVAILABLE, retry_after=0.001))) == pytest.approx(0.2)


def test_all_tries_share_one_deadline() -> None:
    clock = Clock()
    each = tries(clock, timeout=1.0)

    assert each.remaining() == pytest.approx(1.0)
    clock.now += 0.7
    assert each.remaining() == pytest.approx(0.3)
    clock.now += 5
    assert each.remaining() == 0.0


def test_a_pause_beyond_the_deadline_is_not_begun() -> None:
    clock = Clock()
    each = tries(clock, timeout=1.0)
    each.pause_after(rpc_error(LOST))
    clock.now += 0.9

    with pytest.raises(errors.Unavailable, match="Socket closed"):
        each.pause_after(rpc_error(LOST))


def test_a_retry_cut_short_by_the_deadline_reports_the_earlier_error() -> None:
    each = tries(Clock())
    first = rpc_error(LOST)
    each.pause_after(first)

    with pytest.raises(errors.Unavailable, match="Socket closed") as raised:
        each.pause_after(rpc_error(TOO_LATE))

    assert raised.value.__cause__ is first


def test_a_first_try_that_takes_too_long_is_deadline_exceeded() -> None:
    with pytest.raises(errors.DeadlineExceeded, match="no answer in time"):
        tries(Clock()).pause_after(rpc_error(TOO_LATE))


def test_without_a_deadline_retries_never_end() -> None:
    clock = Clock()
    each = tries(clock, timeout=None)

    for before, after in pairwise(each.pause_after(rpc_error(LOST)) for _ in range(50)):
        clock.now += 3600
        assert after >= before
    assert each.remaining() is None


@pytest.mark.parametrize("code", [C.RESOURCE_EXHAUSTED, C.INTERNAL, C.ABORTED, C.INVALID_ARGUMENT, C.UNAUTHENTICATED])
def test_other_errors_are_reported_at_once(code: grpc.StatusCode) -> None:
    with pytest.raises(errors.DueBusError):
        tries(Clock()).pause_after(rpc_error(Failure(code, retry_after=0.1)))


def test_a_call_cancelled_by_the_server_is_retried() -> None:
    assert tries(Clock()).pause_after(rpc_error(Failure(C.CANCELLED, "CANCELLED"))) > 0


@pytest.mark.parametrize("failure", [LOST, Failure(C.CANCELLED, "CANCELLED")])
def test_a_call_that_is_not_repeatable_is_not_retried(failure: Failure) -> None:
    with pytest.raises(errors.DueBusError):
        tries(Clock(), repeatable=False).pause_after(rpc_error(failure))


def test_a_retry_is_marked_as_one() -> None:
    each = tries(Clock())

    assert not each.retried
    each.pause_after(rpc_error(LOST))
    assert each.retried
