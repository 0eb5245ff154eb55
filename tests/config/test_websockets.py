"""The server's side of WebSockets, over real sockets: whoever reads nothing, or sends what is no text, costs little."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import os
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import uvicorn

from config import websockets
from config.asgi import application
from config.websockets import WebSocketProtocol
from mlops.graphql.connected import connected
from mlops.models import User
from mlops.runtime.loops import ExecutionEventLoop
from tests.factories import make_token

TEXT, CLOSE, PING = 1, 8, 9
SMALL = 4096
"""Of the client's kernel, so that little that is not read fills it."""


class Client:
    """A connection that reads only when it is told to."""

    def __init__(self, port: int) -> None:
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SMALL)
        self._socket.settimeout(20)
        self._socket.connect(("127.0.0.1", port))
        key = base64.b64encode(os.urandom(16)).decode()
        self._socket.sendall(
            f"GET /graphql/ws/ HTTP/1.1\r\nHost: testserver\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
            "Sec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n".encode()
        )
        assert self._socket.recv(12) == b"HTTP/1.1 101"

    def send(self, kind: int, payload: bytes, times: int = 1) -> None:
        """Frames, as far as somebody takes them."""
        size = bytes([0x80 | len(payload)]) if len(payload) < 126 else b"\xfe" + struct.pack("!H", len(payload))
        with suppress(ConnectionError):
            self._socket.sendall((bytes([0x80 | kind]) + size + bytes(4) + payload) * times)

    def say(self, **message: Any) -> None:
        self.send(TEXT, json.dumps(message).encode())

    def rest(self, pause_s: float = 0.0) -> bytes:
        """All that comes until the end, read in small pieces. Raises `ConnectionResetError` for what is thrown away."""
        with self._socket:
            read = b""
            while piece := self._socket.recv(SMALL // 2):
                read += piece
                time.sleep(pause_s)
            return read


def saying(text: str) -> Any:
    """An application that says one thing and ends."""

    async def say(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept", "subprotocol": "graphql-transport-ws"})
        await send({"type": "websocket.send", "text": text})

    return say


@asynccontextmanager
async def server(of: Any = application) -> AsyncIterator[uvicorn.Server]:
    """On the loop of the test."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(
            of, http="httptools", ws=WebSocketProtocol, lifespan="off", log_config=None, timeout_graceful_shutdown=1
        )
        serving = uvicorn.Server(config)
        task = asyncio.create_task(serving.serve([listener]))
        while not serving.started:
            await asyncio.sleep(0.01)
        try:
            yield serving
        finally:
            serving.should_exit = True
            await task


def port_of(serving: uvicorn.Server) -> int:
    return int(serving.servers[0].sockets[0].getsockname()[1])


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not is_so():
            await asyncio.sleep(0.01)


def run(work: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=ExecutionEventLoop) as runner:
        runner.run(work)


@pytest.mark.django_db(transaction=True)
def test_who_never_reads_loses_place_and_connection(erin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websockets, "PATIENCE_S", 0.2)
    token = make_token(erin)[1]

    def talk(client: Client) -> None:
        client.say(type="connection_init", payload={"Authorization": f"Bearer {token}"})
        for number in range(60):
            client.say(type="subscribe", id=f"{number}{'x' * 30_000}", payload={"query": "{ me { id } }"})

    async def serve() -> None:
        async with server() as serving:
            client = await asyncio.to_thread(Client, port_of(serving))
            await asyncio.to_thread(talk, client)
            await until(lambda: not serving.server_state.connections)
            await until(lambda: not connected()._of_user)
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(client.rest)

    run(serve())


def test_who_pings_and_never_reads_is_cut_off_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websockets, "PATIENCE_S", 60)

    async def serve() -> None:
        async with server() as serving:
            client = await asyncio.to_thread(Client, port_of(serving))
            await asyncio.to_thread(client.send, PING, b"x" * 125, 20_000)
            await until(lambda: not serving.server_state.connections)
            with pytest.raises(ConnectionResetError):
                await asyncio.to_thread(client.rest)

    run(serve())


def test_who_reads_slowly_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websockets, "PATIENCE_S", 0.4)
    text = "x" * 5_000_000  # more than any kernel keeps

    async def serve() -> None:
        async with server(saying(text)) as serving:
            client = await asyncio.to_thread(Client, port_of(serving))
            assert len(await asyncio.to_thread(client.rest, pause_s=0.001)) > len(text)

    run(serve())


def test_what_is_no_text_is_told_to_the_client_alone(caplog: pytest.LogCaptureFixture) -> None:
    async def serve() -> None:
        async with server() as serving:
            client = await asyncio.to_thread(Client, port_of(serving))
            with caplog.at_level(logging.INFO):
                await asyncio.to_thread(client.send, TEXT, b"\xff")
                answer = await asyncio.to_thread(client.rest)
            assert answer.endswith(bytes([0x80 | CLOSE, 2]) + struct.pack("!H", 1007))

    run(serve())
    assert [record.getMessage() for record in caplog.records if record.exc_info] == []
