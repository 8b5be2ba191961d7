"""Who serves each engine, and the state of what it stores events in, for the dashboard: ``/engines``."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from duebus_server.domain.clock import SECOND
from duebus_server.domain.errors import DueBusError
from duebus_server.security.acl import ALL_TOPICS, Verb
from duebus_server.web.errors import failure_of
from duebus_server.wire.status import status_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from duebus_server.bus.engines import Engines, RunningEngine
    from duebus_server.domain.engine_info import JournalInfo, RedisInfo, ReplicaInfo
    from duebus_server.web.calls import Calls

FRESH_S = 2.0
"""How old an answer may be: all open pages share it."""


def engines_route(calls: Calls, engines: Engines) -> Route:
    """The route. It needs the right to view all topics."""
    return Route("/engines", _EnginesRoute(calls, engines).answer, methods=["GET"])


class _EnginesRoute:
    def __init__(self, calls: Calls, engines: Engines) -> None:
        self._calls = calls
        self._engines = engines
        self._asking = asyncio.Lock()
        self._found: list[dict[str, Any]] = []
        self._found_s = float("-inf")

    async def answer(self, request: Request) -> Response:
        try:
            (await self._calls.identify(request)).demand(Verb.VIEW, ALL_TOPICS)
        except DueBusError as error:
            return failure_of(status_of(error)).response()
        async with self._asking:
            if time.monotonic() - self._found_s > FRESH_S:
                self._found = [await _engine(running) for running in self._engines]
                self._found_s = time.monotonic()
        return JSONResponse(self._found, headers={"Cache-Control": "no-store"})


async def _engine(running: RunningEngine) -> dict[str, Any]:
    engine = running.engine
    problem = running.not_serving() or ""
    found: dict[str, Any] = {"layout": 0, "replicas": [], "redis": [], "journal": None}
    try:
        info = await engine.describe()
    except DueBusError as error:
        problem = problem or str(error)
    else:
        found = {
            "layout": info.layout,
            "replicas": [_replica(one) for one in info.replicas],
            "redis": [_redis(one) for one in info.redis],
            "journal": None if info.journal is None else _journal(info.journal),
        }
    return {"engine": engine.name, "problem": problem, **found}


def _replica(info: ReplicaInfo) -> dict[str, Any]:
    return {
        "name": info.name,
        "place": info.place,
        "version": info.version,
        "since": _seconds(info.since_us),
        "streams": info.streams,
        "layout": info.layout,
        "isThis": info.is_this,
    }


def _redis(info: RedisInfo) -> dict[str, Any]:
    return {
        "address": info.address,
        "version": info.version,
        "role": info.role,
        "replicas": info.replicas,
        "uptime": _seconds(info.uptime_us),
        "memory": info.memory_bytes,
        "maxMemory": info.max_memory_bytes,
        "policy": info.policy,
        "appends": info.appends,
        "saved": _seconds(info.saved_us),
        "unsaved": info.unsaved_changes,
    }


def _journal(info: JournalInfo) -> dict[str, Any]:
    return {
        "path": info.path,
        "fsync": info.fsync,
        "segments": info.segments,
        "size": info.size_bytes,
        "live": info.live_bytes,
        "oldest": _seconds(info.oldest_us),
        "synced": _seconds(info.synced_us),
        "unsynced": info.unsynced_bytes,
        "space": info.space,
    }


def _seconds(us: int | None) -> float | None:
    return None if us is None else us / SECOND
