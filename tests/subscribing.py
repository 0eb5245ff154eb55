"""A GraphQL client over WebSocket: the network, a real server, and the library that others would use."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.typing import Subprotocol

PATIENCE_S = 30
UPDATES = "subscription($execution: ID!) { executionUpdates(executionId: $execution) { id state revision output } }"
UPDATES_OF_PROGRAM = (
    "subscription($program: ID!) { executionUpdates(programId: $program) { id state revision output } }"
)


@contextlib.asynccontextmanager
async def connected(
    address: str, token: str = "", headers: Mapping[str, str] | None = None, **options: Any
) -> AsyncIterator[ClientConnection]:
    """A connection to the server at `address` (http://...) on which it has been said who is there."""
    url = f"{address.replace('http', 'ws', 1)}/graphql/ws/"
    protocols = [Subprotocol("graphql-transport-ws")]
    async with connect(url, subprotocols=protocols, additional_headers=headers, proxy=None, **options) as socket:
        payload = {"Authorization": f"Bearer {token}"} if token else {}
        await say(socket, type="connection_init", payload=payload)
        assert await hear(socket) == {"type": "connection_ack"}
        yield socket


async def say(socket: ClientConnection, **message: Any) -> None:
    await socket.send(json.dumps(message))


async def hear(socket: ClientConnection) -> Any:
    return json.loads(await asyncio.wait_for(socket.recv(), PATIENCE_S))


async def subscribe(socket: ClientConnection, query: str, /, **variables: Any) -> None:
    await say(socket, type="subscribe", id="1", payload={"query": query, "variables": variables})


async def update(socket: ClientConnection) -> Any:
    """The row that the next message tells."""
    message = await hear(socket)
    assert message["type"] == "next", message
    (row,) = message["payload"]["data"].values()
    return row
