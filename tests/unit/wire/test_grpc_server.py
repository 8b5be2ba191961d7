"""The private parts of grpcio that the server patches, and the bug that makes this necessary."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from textwrap import dedent

import grpc
import grpc.aio
import pytest
from duebus_server.wire import grpc_server
from duebus_server.wire.grpc_server import TESTED_VERSION, GrpcServer
from grpc._cython import cygrpc
from grpc._cython.cygrpc import AioServer
from support.app import own_app
from support.http2 import raw_connection, request
from support.wire import SIGNAL_TIMEOUT_S


def test_grpcio_is_a_version_that_wire_grpc_server_was_tested_with() -> None:
    assert grpc.__version__.startswith(TESTED_VERSION), (
        "grpcio has changed: read wire/grpc_server.py beside its aio/server.pyx.pxi, "
        "run tests/wire/test_malformed_path.py, and then set TESTED_VERSION"
    )


def test_grpcio_still_has_the_names_that_wire_grpc_server_replaces() -> None:
    replaced = ("_server_main_loop", "_make_request_call_future", "add_registered_method_handlers")
    for name in (*replaced, "_request_call", "_request_registered_call", "is_running"):
        assert hasattr(AioServer, name), f"grpcio no longer has {name}, so wire/grpc_server.py does nothing"


async def test_an_answer_to_a_caller_that_has_gone_is_not_logged(caplog: pytest.LogCaptureFixture) -> None:
    GrpcServer(())
    log = logging.getLogger("grpc._cython.cygrpc")
    for error in (cygrpc.ExecuteBatchError("gone"), ValueError("a bug")):
        log.error("raised in core", exc_info=error)
    assert [type(record.exc_info[1]) for record in caplog.records if record.exc_info] == [ValueError]


async def test_grpcio_itself_is_still_ended_by_a_malformed_path() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    (accepting,) = [task for task in asyncio.all_tasks() if "_server_main_loop" in repr(task)]
    async with raw_connection(f"127.0.0.1:{port}") as connection:
        await connection.send(request(1, b"/\xff"))
        await asyncio.wait([accepting], timeout=30)
    mended = not accepting.done()
    await server.stop(None)
    assert not mended, "grpcio has fixed this: remove _AioServer._make_request_call_future from wire/grpc_server.py"


@pytest.mark.parametrize("naive", [False, True])
def test_one_read_takes_many_wake_ups(*, naive: bool) -> None:
    """gRPC's own reader reads one byte at a time, which costs a turn of the loop for each operation that ends."""
    program = f"""
        import asyncio, socket
        import grpc.aio
        from duebus_server.wire import grpc_server

        CALLS = 200
        reads = 0

        class Counting(grpc_server._WakeUps):
            def recv(self, size):
                global reads
                reads += 1
                return socket.socket.recv(self, size) if {naive} else super().recv(size)

        async def answer(request, _context):
            return request

        async def main():
            grpc_server._WakeUps = Counting
            server = grpc_server.GrpcServer(())
            handlers = {{"Method": grpc.unary_unary_rpc_method_handler(answer)}}
            server.register("test.Service", handlers, {{"Method": CALLS}})
            port = server.add_insecure_port("127.0.0.1:0")
            await server.start()
            async with grpc.aio.insecure_channel(f"127.0.0.1:{{port}}") as channel:
                call = channel.unary_unary("/test.Service/Method")
                answers = await asyncio.gather(*(call(bytes([index])) for index in range(CALLS)))
            await server.stop(None)
            assert answers == [bytes([index]) for index in range(CALLS)], answers
            print(reads / CALLS)

        asyncio.run(main())
    """
    done = subprocess.run([sys.executable, "-c", dedent(program)], check=True, capture_output=True, text=True)
    assert (float(done.stdout) > 4) is naive  # four operations of the server and one of the client


async def test_it_reports_its_end_unless_it_was_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    stopped = GrpcServer(())
    stopped.add_insecure_port("127.0.0.1:0")
    await stopped.start()
    await stopped.stop(None)
    assert not stopped.ended.is_set()

    monkeypatch.delattr(grpc_server._AioServer, "_make_request_call_future")
    ended = GrpcServer(())
    port = ended.add_insecure_port("127.0.0.1:0")
    await ended.start()
    async with raw_connection(f"127.0.0.1:{port}") as connection:
        await connection.send(request(1, b"/\xff"))
        await asyncio.wait_for(ended.ended.wait(), SIGNAL_TIMEOUT_S)
    await ended.stop(None)


async def test_probes_are_told_that_nothing_listens() -> None:
    async with own_app() as (own, _wire):
        wire_server = own.app._wire
        assert await wire_server.not_listening() is None
        await wire_server._server.stop(None)
        assert await wire_server.not_listening() == f"nothing listens on {own.address}"


async def test_probes_are_told_that_no_calls_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(grpc_server._AioServer, "_make_request_call_future")
    async with own_app() as (own, _wire):
        async with raw_connection(own.address) as connection:
            await connection.send(request(1, b"/\xff"))
            await asyncio.wait_for(own.app._wire.ended(), SIGNAL_TIMEOUT_S)
        assert await own.app._wire.not_listening() == "the server no longer accepts calls"


async def test_an_unexpected_error_of_the_check_refuses_its_call_and_ends_nothing() -> None:
    refusals = [RuntimeError("seen in the log only"), None]

    async def admit(_method: str, _context: object) -> None:
        error = refusals.pop(0)
        if error is not None:
            raise error

    async def answer(_request: bytes, _context: object) -> bytes:
        return b"answer"

    server = GrpcServer((), admit)
    server.register("test.Service", {"Method": grpc.unary_unary_rpc_method_handler(answer)})
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            call = channel.unary_unary("/test.Service/Method", None, None)
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call(b"", timeout=SIGNAL_TIMEOUT_S)
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert await call(b"", timeout=SIGNAL_TIMEOUT_S) == b"answer"
        assert not server.ended.is_set()
    finally:
        await server.stop(None)


def test_a_server_that_is_told_to_stop_by_several_callers_does_not_crash() -> None:
    """In grpc.aio, a call that waits while another destroys the server crashes the process."""
    program = """
        import asyncio
        from duebus_server.wire.grpc_server import GrpcServer

        async def main():
            for _ in range(10):
                server = GrpcServer(())
                server.add_insecure_port("127.0.0.1:0")
                await server.start()
                stops = []
                for index in range(100):
                    stops.append(asyncio.create_task(server.stop(5 if index % 2 else None)))
                    await asyncio.sleep(0)  # the next turn of the loop
                await asyncio.gather(*stops)

        asyncio.run(main())
    """
    ended = subprocess.run([sys.executable, "-c", dedent(program)], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
