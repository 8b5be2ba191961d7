"""The whole bus as processes: Redis, which writes everything to disk, servers on it, workers and producers."""

from __future__ import annotations

import signal
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Self

from duebus import Client
from duebus.errors import DueBusError
from fault.journal import Journal, now_us
from fault.processes import ProcessCommand, ReplaceableProcess
from fault.worker import TOPIC
from support.server_process import ServerProcess

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from subprocess import Popen
    from types import TracebackType
    from typing import Any

    from duebus import TopicInfo
    from fault.storage import Storage

LEASES_S = {"billing": 30.0, "audit": 6.0}
"""The groups. A lease of 30 s may be lost only with its holder. A lease of 6 s runs out while a worker is paused."""

WORKERS_OF_A_GROUP = 2
PRODUCERS = 2
SERVER_FLAGS = (
    *("--engine", "redis", "--drain-timeout", "10s"),
    *("--max-retries", "100", "--backoff-initial", "200ms", "--backoff-max", "2s"),
)
READY_TIMEOUT_S = 120
DRAIN_TIMEOUT_S = 90


class Bus:
    """The whole bus, running. A context manager that leaves nothing running.

    Args:
        directory: for journals and logs.
        seed: decides what the producers dispatch.
        servers: how many servers run.
        storage: where the servers keep events; not yet running.
        partitions: how many partitions the topic has.
    """

    def __init__(self, directory: Path, seed: str, servers: int, storage: Storage, partitions: int) -> None:
        self.directory = directory
        self.journal = Journal(directory / "conductor.jsonl")
        self._seed = seed
        self._count = servers
        self.storage = storage
        self.partitions = partitions
        self._stack = ExitStack()
        self.servers: list[ServerProcess] = []
        self.workers: list[ReplaceableProcess] = []
        self.producers: list[ReplaceableProcess] = []

    def __enter__(self) -> Self:
        with self._stack:
            self._stack.callback(self._close_processes)
            self._stack.enter_context(self.storage)
            self.servers += [self._start_server(number) for number in range(self._count)]
            with Client(self.servers[0].address) as client:
                client.admin.configure_topic(TOPIC, partitions=self.partitions)
            self._start_workers()
            self._start_producers()
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._close_processes()
        self._stack.close()
        self.journal.close()

    # --- what faults do ---------------------------------------------------------------------------------------------

    @contextmanager
    def outage(self, what: str, target: str) -> Iterator[None]:
        """Record an outage during the block."""
        began = now_us()
        try:
            yield
        finally:
            self.journal.write("outage", what=what, target=target, began=began, ended=now_us())

    def restart_server(self, number: int) -> None:
        """Restart a server that has ended, on its address."""
        address = self.servers[number].address
        self.servers[number].close()
        self.servers[number] = self._start_server(number, address)

    @staticmethod
    @contextmanager
    def paused(process: Popen[Any]) -> Iterator[None]:
        """Suspend the process during the block."""
        process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            process.send_signal(signal.SIGCONT)

    # --- the end ----------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Stop dispatching, handle what was dispatched, end the workers, and record what is left.

        Raises:
            TimeoutError: the workers do not finish.
        """
        for producer in self.producers:
            assert producer.terminate() == 0, producer.name
        with Client(self.servers[0].address) as client:
            self._until_drained(client)
            for group in LEASES_S:
                self._note_left(client, group)
        for worker in self.workers:
            assert worker.terminate() == 0, worker.name
        self.journal.write("groups", groups=list(LEASES_S))

    def logs_of_servers(self) -> str:
        """Everything that the servers logged."""
        return "".join(path.read_text() for path in self.directory.glob("server-*.log"))

    def _until_drained(self, client: Client) -> None:
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while _waiting(info := client.admin.get_topic(TOPIC)):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not all was handled: {info}")
            time.sleep(0.1)  # other processes can't signal the test

    def _note_left(self, client: Client, group: str) -> None:
        for state in ("scheduled", "ready", "blocked", "leased", "dead"):
            for event in client.admin.list_events(TOPIC, state, group=group, page_size=1000):
                self.journal.write("left", group=group, event_id=event.event_id, state=state)

    # --- the start --------------------------------------------------------------------------------------------------

    def _start_server(self, number: int, listen: str | None = None) -> ServerProcess:
        log = self.directory / f"server-{number}.log"
        return ServerProcess(log, *SERVER_FLAGS, "--redis-url", self.storage.url(number), listen=listen)

    def _start_workers(self) -> None:
        addresses = [server.address for server in self.servers]
        for group, lease_s in LEASES_S.items():
            for number in range(WORKERS_OF_A_GROUP):
                name, first = f"worker-{group}-{number}", str(number % self._count)
                arguments = (group, str(lease_s), f"{self._seed}-{name}", first, *addresses)
                self.workers.append(ReplaceableProcess(self.directory, ProcessCommand(name, "fault.worker", arguments)))
        self._until_subscribed()

    def _until_subscribed(self) -> None:
        """Events are for the groups that exist when they are dispatched."""
        deadline = time.monotonic() + READY_TIMEOUT_S
        with Client(self.servers[0].address) as client:
            while _subscribers(client) < len(LEASES_S) * WORKERS_OF_A_GROUP:
                assert time.monotonic() < deadline, "the workers do not subscribe"
                time.sleep(0.05)  # as above

    def _start_producers(self) -> None:
        addresses = [server.address for server in self.servers]
        for number in range(PRODUCERS):
            command = ProcessCommand(f"producer-{number}", "fault.producer", (self._seed, *addresses))
            self.producers.append(ReplaceableProcess(self.directory, command))

    def _close_processes(self) -> None:
        for process in (*self.workers, *self.producers):
            process.close()
        for server in self.servers:
            server.close()


def _waiting(info: TopicInfo) -> int:
    return sum(group.scheduled + group.ready + group.leased + group.blocked for group in info.groups)


def _subscribers(client: Client) -> int:
    try:
        return sum(len(group.subscribers) for group in client.admin.get_topic(TOPIC).groups)
    except DueBusError:  # no worker has subscribed yet
        return 0
