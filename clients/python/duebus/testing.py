"""A bus for tests, as a pytest plugin: in the test's own process, with a clock that the test moves.

The fixture is `duebus`, a `Bus`:

    def test_an_unpaid_order_is_cancelled(duebus):
        worker = Worker(duebus.address)
        cancelled = []
        worker.add("order.check", lambda delivery: cancelled.append(delivery.json()["id"]))

        with duebus.running(worker):
            duebus.client.dispatch("order.check", {"id": 42}, delay=timedelta(minutes=30))
            duebus.advance(minutes=29)
            duebus.settle()
            assert cancelled == []
            duebus.advance(minutes=1)
            duebus.settle()

        assert cancelled == [42]

It is the real server, on the local engine and a free local port; only its clock is simulated. It logs to `logging`, by
loggers below `duebus_server`, so pytest shows its warnings with a test that fails. If the tests have configured
structlog, it logs as they have set that.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from duebus_server.app import App
    from duebus_server.bus.manual_time import ManualTime

    from duebus.client import Client
    from duebus.worker import Worker

__all__ = ["Bus", "duebus"]

R = TypeVar("R")

MICROSECOND = timedelta(microseconds=1)
# In real seconds.
SETTLE_TIMEOUT = 5.0
# Exceptions that a handler raises to fail or skip its test.
VERDICTS = (AssertionError, pytest.fail.Exception, pytest.skip.Exception, pytest.xfail.Exception)


@pytest.fixture
def duebus() -> Iterator[Bus]:
    """A new, empty bus for one test."""
    with Bus() as running:
        yield running


class Bus:
    """A DueBus server on a thread of this process, with a clock that stands still until the test moves it.

    Without pytest, use it as a context manager. Its methods may be called from any thread except the server's.

    Attributes:
        address: Where it listens, HOST:PORT, for clients and workers.
        client: A `duebus.Client` connected to it.
    """

    address: str
    client: Client

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="duebus bus", daemon=True)
        self._verdicts: deque[BaseException] = deque()

    def __enter__(self) -> Bus:
        """Start.

        Raises:
            ModuleNotFoundError: the extra `testing`, which installs the server, is missing.
        """
        from duebus.client import Client  # noqa: PLC0415  # a plugin is imported by every pytest run

        self._thread.start()
        self._call(self._start())
        self.client = Client(self.address)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop. Its events are dropped."""
        self.client.close()
        self._call(self._app.stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def now(self) -> datetime:
        """The time of its clock."""
        return datetime.fromtimestamp(self._time.now_us() / 1e6, UTC)

    def advance(self, *, days: float = 0, hours: float = 0, minutes: float = 0, seconds: float = 0) -> None:
        """Move its clock forward. Events become due and leases run out as if the time had passed.

        A schedule fires at each of its times on the way. What it has fired is handled, as by `settle`, before the clock
        is moved further.

        Returns at once; `settle` waits until the due events are handled. If handlers may still be running, call
        `settle` first too, or their leases may run out.

        Raises:
            ValueError: The sum is negative.
            TimeoutError: What a schedule has fired is not settled within 5 real seconds.
        """
        by = timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        self._call(self._time.advance(by // MICROSECOND, partial(self._time.settle, SETTLE_TIMEOUT, self._is_judged)))

    def settle(self, timeout: float = SETTLE_TIMEOUT) -> None:
        """Wait until no event is due or leased in any group that has a subscriber.

        An event that failed and waits for its retry is not waited for: move the clock to its due time.

        Args:
            timeout: How many real seconds to wait.

        Raises:
            TimeoutError: It takes longer; the message names what is not settled.
            AssertionError: An `assert` failed in a handler of a worker that is `running`. `pytest.fail`, `pytest.skip`
                and `pytest.xfail` in a handler are raised here too.
        """
        self._call(self._time.settle(timeout, self._is_judged))
        self._raise_verdict()

    @contextmanager
    def running(self, worker: Worker, timeout: float = 5.0) -> Iterator[None]:
        """Run a worker in the background, subscribed to all its topics before the block is entered.

        Leaving the block drains the worker. It raises an error that ended the worker, and a failed `assert` in a
        handler that no `settle` has raised.

        Args:
            worker: A worker with the address of the bus.
            timeout: How many real seconds it may take to subscribe.

        Raises:
            TimeoutError: The worker is not subscribed in time, perhaps because it connects to another address.
        """
        failures: list[BaseException] = []
        started = threading.Event()
        thread = threading.Thread(target=_serve, args=(worker, started, failures, self._judge), name="duebus worker")
        thread.start()
        try:
            if not started.wait(timeout):
                raise TimeoutError(f"after {timeout:g} s the worker is not subscribed; is its address {self.address}?")
            if not failures:
                yield
        finally:
            worker.request_stop()
            thread.join()
        if failures:
            raise failures[0]
        self._raise_verdict()

    def _judge(self, error: BaseException) -> None:
        """Called on the worker's thread when a handler has raised."""
        if isinstance(error, VERDICTS):
            self._verdicts.append(error)
            self._loop.call_soon_threadsafe(self._time.changed)

    def _is_judged(self) -> bool:
        return bool(self._verdicts)

    def _raise_verdict(self) -> None:
        if self._verdicts:
            raise self._verdicts.popleft()

    # --- on the server's loop ---------------------------------------------------------------------------------------

    async def _start(self) -> None:
        try:
            from duebus_server.app import App  # noqa: PLC0415  # a plugin is imported by every pytest run
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("duebus"):
                raise
            message = "a bus for tests needs the extra testing: pip install 'duebus[testing]'"
            raise ModuleNotFoundError(message, name=error.name) from error
        from duebus_server.config import Settings  # noqa: PLC0415
        from duebus_server.domain.clock import ManualClock  # noqa: PLC0415
        from duebus_server.domain.model import EngineName  # noqa: PLC0415
        from duebus_server.engine.local import LocalEngine  # noqa: PLC0415

        _log_to_logging()
        # The defaults, regardless of the tests' environment.
        settings = Settings.model_construct(listen="127.0.0.1:0", drain_timeout=0)
        clock = ManualClock(time.time_ns() // 1_000)
        self._app: App = App(settings, clock, [LocalEngine(clock, settings.topic_config(EngineName.LOCAL))])
        self._time: ManualTime = self._app.manual_time(clock)
        self.address = await self._app.start()

    def _call(self, coroutine: Coroutine[Any, Any, R]) -> R:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()


def _log_to_logging() -> None:
    """Without this, structlog prints to standard output, which the test may capture for its own sake."""
    import structlog  # noqa: PLC0415  # as in `_start`

    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
            ],
            wrapper_class=structlog.stdlib.BoundLogger,
            logger_factory=structlog.stdlib.LoggerFactory(),
        )


def _serve(
    worker: Worker,
    started: threading.Event,
    failures: list[BaseException],
    on_failure: Callable[[BaseException], None],
) -> None:
    """Serve until the worker is stopped; `started` is set when it is subscribed, or has failed."""

    async def serve() -> None:
        serving = asyncio.ensure_future(worker.serve(on_failure=on_failure))
        ready = asyncio.ensure_future(worker.ready())
        await asyncio.wait((serving, ready), return_when=asyncio.FIRST_COMPLETED)
        started.set()
        ready.cancel()
        await serving

    try:
        asyncio.run(serve())
    except BaseException as error:  # noqa: BLE001  # raised again in the test's thread
        failures.append(error)
    finally:
        started.set()
