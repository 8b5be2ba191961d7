"""Which nodes the script client keeps connections to."""

from __future__ import annotations

from typing import Any
from unittest.mock import AsyncMock, Mock

from duebus_server.engine.redis.transport.script_client import ScriptClient

ANSWER = b"answer"


class Nodes:
    """A cluster whose nodes come and go. Every key is on the latest.

    Attributes:
        connections: the pipelined connection to each node that there has been.
    """

    def __init__(self) -> None:
        self.connections: dict[str, Mock] = {}
        self._names: list[str] = []

    def set(self, *names: str) -> None:
        """From now on these are the nodes."""
        self._names = list(names)

    def names(self) -> list[str]:
        """The nodes that there are now."""
        return self._names

    def node_of(self, _key: str) -> tuple[str, Any]:
        """The node of a key, and what connects to it."""
        name = self._names[-1]

        async def connect() -> Mock:
            self.connections[name] = Mock(send=AsyncMock(return_value=ANSWER))
            return self.connections[name]

        return name, connect


async def test_a_node_that_has_left_the_cluster_keeps_no_connection() -> None:
    nodes = Nodes()
    redis = Mock(evalsha=AsyncMock(return_value=ANSWER))
    client = ScriptClient(redis, nodes.node_of, nodes.names, Mock(), Mock())

    async def run() -> None:
        await client.evalsha("digest", 1, "key")
        connecting = client._links[nodes.names()[-1]]._connecting
        if connecting is not None:
            await connecting

    nodes.set("stays", "leaves")
    await run()
    nodes.set("new", "stays")
    await run()
    assert client._links.keys() == {"stays"}
    nodes.connections["leaves"].retire.assert_called_once_with()
    nodes.set("stays", "new")
    await run()
    assert client._links.keys() == {"stays", "new"}
    nodes.connections["stays"].retire.assert_not_called()
