"""The commands."""

import asyncio
import base64
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
from duebus import DueBusError
from duebus.aio import Client, Subscription

from conformance_driver.admin import call_admin
from conformance_driver.codec import (
    read_error,
    read_failures,
    read_frame,
    read_started,
    span_of,
    write_event,
    write_nack,
)
from conformance_driver.lines import Lines
from conformance_driver.schedules import SCHEDULE_COMMANDS
from conformance_driver.scripted import ScriptedWorker

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ["Driver"]

Fields = dict[str, Any]


class Driver:
    """The clients, subscriptions and workers that the runner asked for, by name."""

    def __init__(self, lines: Lines) -> None:
        self._lines = lines
        self._clients: dict[str, Client] = {}
        self._subscriptions: dict[str, asyncio.Task[None]] = {}
        self._workers: dict[str, ScriptedWorker] = {}
        self._commands: dict[str, Callable[[Fields], Awaitable[Fields]]] = {
            "hello": self._hello,
            "connect": self._connect,
            "close": self._close,
            "dispatch": self._dispatch,
            "ack": self._ack,
            "nack": self._nack,
            "extend": self._extend,
            "subscribe": self._subscribe,
            "unsubscribe": self._unsubscribe,
            "stop": self._stop,
            "admin": self._admin,
            "is_serving": self._is_serving,
            **{name: partial(self._schedule, carry_out) for name, carry_out in SCHEDULE_COMMANDS.items()},
            "worker.start": self._worker_start,
            "worker.finish": self._worker_finish,
            "worker.stop": self._worker_stop,
        }

    async def carry_out(self, command: Fields) -> None:
        """Carries out a command and answers it, with its result or its error."""
        try:
            result = await self._commands[command["command"]](command)
        except DueBusError as error:
            self._lines.refuse(command["id"], read_error(error))
        except (LookupError, TypeError, ValueError) as error:
            message = f"{type(error).__name__}: {error}"
            self._lines.refuse(command["id"], {"reason": "DRIVER_ERROR", "message": message})
        else:
            self._lines.answer(command["id"], result)

    async def close(self) -> None:
        """Closes everything that is open."""
        await asyncio.gather(*(each.abort() for each in self._workers.values()))
        for reading in self._subscriptions.values():
            reading.cancel()
        await asyncio.gather(*self._subscriptions.values(), return_exceptions=True)
        for name in list(self._clients):
            await self._close({"client": name})

    async def _hello(self, _: Fields) -> Fields:
        return {"language": "python", "protocol": 1}

    async def _connect(self, command: Fields) -> Fields:
        target, token, tls = command["target"], command.get("token"), command.get("tls")
        credentials = None if tls is None else _credentials(tls)
        timeout = span_of(command.get("timeout_ms"))
        given: Fields = {} if timeout is None else {"timeout": timeout}
        client = Client(target, credentials=credentials, token=token, **given)
        self._clients[command["client"]] = client
        return {}

    async def _close(self, command: Fields) -> Fields:
        await self._clients.pop(command["client"]).close()
        return {}

    async def _dispatch(self, command: Fields) -> Fields:
        client, topic = self._clients[command["client"]], command["topic"]
        events = [write_event(each) for each in command["events"]]
        options: Fields = {
            "engines": command.get("engines") or (),
            "request_id": command.get("request_id"),
            "require_subscriber": command.get("require_subscriber") or False,
            "timeout": span_of(command.get("timeout_ms")),
        }
        if len(events) == 1:
            (event,) = events
            fields = {name: getattr(event, name) for name in event.__slots__}
            dispatched = [await client.dispatch(topic, **fields, **options)]
        else:
            dispatched = await client.dispatch_many(topic, events, **options)
        return {
            "event_ids": [each.event_id for each in dispatched],
            "duplicate_event_ids": [each.event_id for each in dispatched if each.duplicate],
        }

    async def _ack(self, command: Fields) -> Fields:
        return read_failures(await self._clients[command["client"]].ack(command["lease_tokens"]))

    async def _nack(self, command: Fields) -> Fields:
        nacks = [write_nack(each) for each in command["nacks"]]
        return read_failures(await self._clients[command["client"]].nack_many(nacks))

    async def _extend(self, command: Fields) -> Fields:
        client, lease = self._clients[command["client"]], span_of(command.get("lease_ms"))
        return read_failures(await client.extend(command["lease_tokens"], lease))

    async def _stop(self, command: Fields) -> Fields:
        client, drain_timeout = self._clients[command["client"]], span_of(command.get("drain_timeout_ms"))
        stopped = await client.stop(command.get("engines") or (), drain_timeout)
        return {
            "engines": [{"engine": each.engine, "released": each.released, "queued": each.queued} for each in stopped]
        }

    async def _admin(self, command: Fields) -> Fields:
        request = base64.b64decode(command["request"])
        return {"response": await call_admin(self._clients[command["client"]].admin, command["method"], request)}

    async def _is_serving(self, command: Fields) -> Fields:
        client = self._clients[command["client"]]
        return {"serving": await client.is_serving(command.get("service") or "")}

    async def _schedule(self, carry_out: "Callable[[Client, Fields], Awaitable[Fields]]", command: Fields) -> Fields:
        return await carry_out(self._clients[command["client"]], command)

    async def _subscribe(self, command: Fields) -> Fields:
        subscription = self._clients[command["client"]].subscribe(
            command["topic"],
            group=command.get("group") or "",
            engine=command.get("engine"),
            consumer=command.get("consumer") or "",
            max_in_flight=command.get("max_in_flight") or 0,
            max_in_flight_bytes=command.get("max_in_flight_bytes") or 0,
            lease=span_of(command.get("lease_ms")),
            disconnect_grace=span_of(command.get("disconnect_grace_ms")),
            held_lease_tokens=command.get("held_lease_tokens") or (),
            ephemeral=command.get("ephemeral") or False,
            timeout=span_of(command.get("timeout_ms")),
        )
        await subscription.__aenter__()
        name = command["subscription"]
        self._subscriptions[name] = asyncio.create_task(self._read(name, subscription))
        return read_started(await subscription.started())

    async def _unsubscribe(self, command: Fields) -> Fields:
        reading = self._subscriptions.pop(command["subscription"])
        reading.cancel()
        await reading
        return {}

    async def _read(self, name: str, subscription: Subscription) -> None:
        error = None
        try:
            async for frame in subscription.frames():
                event, fields = read_frame(frame)
                if event != "started":
                    self._lines.report(event, subscription=name, **fields)
        except DueBusError as raised:
            error = read_error(raised)
        except asyncio.CancelledError:
            pass  # the runner abandons the stream
        await subscription.close()
        self._lines.report("ended", subscription=name, error=error)

    async def _worker_start(self, command: Fields) -> Fields:
        name, client = command["worker"], self._clients[command["client"]]
        self._workers[name] = ScriptedWorker(name, client, self._lines, command)
        return {}

    async def _worker_finish(self, command: Fields) -> Fields:
        self._workers[command["worker"]].finish(command["event_id"], command["outcome"])
        return {}

    async def _worker_stop(self, command: Fields) -> Fields:
        await self._workers[command["worker"]].stop()
        return {}


def _credentials(tls: Fields) -> grpc.ChannelCredentials:
    files = (tls.get(name) for name in ("ca", "key", "cert"))
    return grpc.ssl_channel_credentials(*(None if text is None else text.encode() for text in files))
