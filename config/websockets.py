"""The server's side of a WebSocket: uvicorn's, which also parts from clients that do not read.

Uvicorn closes a connection once everything that was written has been taken. Of those who take nothing it would keep the
connection, and what they were to be sent, for as long as they like.
"""

from __future__ import annotations

import asyncio
import socket
import struct

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

PATIENCE_S = 10.0
"""How long a client may take nothing of what waits for it."""

MAX_PONGS = 100
"""Pings of a client that are answered while it takes no answer."""

SEND_BUFFER = 65_536
"""Bytes that the kernel keeps for a client: with its megabytes, nobody would see for long whether anything is taken."""

RESET = struct.pack("ii", 1, 0)
"""For SO_LINGER: what was not taken is thrown away at once, by the kernel too."""


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """For `uvicorn --ws config.websockets:WebSocketProtocol`: cuts connections off from which nothing is read.

    The application hears of it as of any client that is gone.
    """

    _judging: asyncio.TimerHandle | None = None
    _pongs = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        self.transport.set_write_buffer_limits(high=0)  # writing is paused while anything waits to be taken

    def connection_lost(self, exc: Exception | None) -> None:
        self._trust()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._doubt()

    def resume_writing(self) -> None:
        self._trust()
        super().resume_writing()

    def handle_ping(self) -> None:
        super().handle_ping()
        if self._judging is not None:
            self._pongs += 1
            if self._pongs > MAX_PONGS:
                self._cut_off()

    def _doubt(self) -> None:
        waiting = self.transport.get_write_buffer_size()
        self._judging = self.loop.call_later(PATIENCE_S, self._judge, waiting)

    def _judge(self, waiting: int) -> None:
        if self.transport.get_write_buffer_size() < waiting:
            self._doubt()
        else:
            self._cut_off()

    def _trust(self) -> None:
        if self._judging is not None:
            self._judging.cancel()
        self._judging, self._pongs = None, 0

    def _cut_off(self) -> None:
        self._trust()
        self.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
        self.transport.abort()
