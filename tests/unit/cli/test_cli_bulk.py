"""What a bulk dispatch reports: exactly which lines were stored, and which failed."""

import threading
from collections.abc import Iterator

import pytest
from duebus import Dispatched, FieldViolation
from duebus.cli.bulk import Account, dispatch_batches
from duebus.cli.lines import BadLineError, Batch, Line
from duebus.errors import DeadlineExceeded, DispatcherNotWorking, DueBusError, InvalidArgument, Unavailable


def batches(count: int, size: int = 10) -> list[Batch]:
    """Batches of lines, numbered from 1."""
    return [[Line(start * size + each, b"1") for each in range(1, size + 1)] for start in range(count)]


class Server:
    """Accepts batches, except those that begin with a line named in `errors`."""

    def __init__(self, errors: dict[int, Exception] | None = None) -> None:
        self.errors = errors or {}
        self.taken: list[int] = []
        self._lock = threading.Lock()

    def send(self, batch: Batch) -> list[Dispatched]:
        if batch[0].number in self.errors:
            raise self.errors[batch[0].number]
        with self._lock:
            self.taken += [line.number for line in batch]
        return [Dispatched(str(line.number), duplicate=False) for line in batch]


def load(server: Server, given: Iterator[Batch] | list[Batch]) -> Account:
    return dispatch_batches(given, server.send, lambda _: None)


def lines_of(account: Account) -> list[int]:
    return [number for first, last in account.stored for number in range(first, last + 1)]


def test_all_stored_lines_make_one_range() -> None:
    server = Server()
    account = load(server, batches(20))
    assert (account.dispatched, account.stored, account.failure) == (200, [(1, 200)], None)
    assert sorted(server.taken) == list(range(1, 201))


def test_nothing_is_sent_when_there_is_nothing() -> None:
    account = load(Server(), [])
    assert (account.dispatched, account.stored, account.failure) == (0, [], None)


def test_duplicates_are_counted() -> None:
    account = dispatch_batches(batches(2), lambda batch: [Dispatched("x", duplicate=True)] * len(batch), lambda _: None)
    assert (account.dispatched, account.duplicates) == (20, 20)


def test_a_failed_batch_ends_the_load_with_an_exact_account() -> None:
    server = Server({51: DueBusError("full")})
    account = load(server, batches(1000))
    assert account.failure is not None
    assert (account.failure.lines, str(account.failure.error)) == ((51, 60), "full")
    assert sorted(server.taken) == lines_of(account)
    assert account.dispatched == len(server.taken) < 200
    assert account.doubtful == []


def test_the_line_that_the_server_names_is_reported_as_failed() -> None:
    error = InvalidArgument("no", field_violations=(FieldViolation("events[3].data", "too large"),))
    account = load(Server({11: error}), batches(3))
    assert account.failure is not None
    assert account.failure.lines == (14, 14)


def test_the_first_failure_is_reported() -> None:
    account = load(Server({11: DueBusError("first"), 21: DueBusError("second")}), batches(4))
    assert account.failure is not None
    assert str(account.failure.error) == "first"
    assert account.stored == [(1, 10), (31, 40)]


@pytest.mark.parametrize(
    ("error", "doubtful"),
    [
        (Unavailable("cut"), [(11, 20)]),
        (DeadlineExceeded("slow"), [(11, 20)]),
        (DispatcherNotWorking("draining"), []),
        (DueBusError("full"), []),
    ],
)
def test_a_batch_whose_answer_was_lost_is_reported_as_doubtful(
    error: DueBusError, doubtful: list[tuple[int, int]]
) -> None:
    assert load(Server({11: error}), batches(3)).doubtful == doubtful


def broken_after(count: int, error: BaseException) -> Iterator[Batch]:
    yield from batches(count)
    raise error


def test_lines_before_a_bad_one_are_stored() -> None:
    account = load(Server(), broken_after(3, BadLineError(31, "is not JSON")))
    assert account.failure is not None
    assert (account.failure.lines, account.stored) == ((31, 31), [(1, 30)])


def test_a_failure_before_the_bad_line_is_reported() -> None:
    account = load(Server({21: DueBusError("full")}), broken_after(3, BadLineError(31, "is not JSON")))
    assert account.failure is not None
    assert (account.failure.lines, account.stored) == ((21, 30), [(1, 20)])


def test_after_ctrl_c_the_account_is_still_exact() -> None:
    server = Server()
    account = load(server, broken_after(3, KeyboardInterrupt()))
    assert account.interrupted
    assert (account.dispatched, account.stored) == (30, [(1, 30)])


def test_several_batches_are_sent_at_once() -> None:
    # The server answers only once two batches have arrived: sending one at a time would never end.
    both = threading.Barrier(2, timeout=10)

    def send(batch: Batch) -> list[Dispatched]:
        both.wait()
        return [Dispatched("x", duplicate=False)] * len(batch)

    assert dispatch_batches(batches(4), send, lambda _: None).dispatched == 40


def test_an_error_of_the_code_itself_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        load(Server({11: ZeroDivisionError()}), batches(3))
