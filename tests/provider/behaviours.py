"""What `Provider.script` queues for the next requests: faults, and answers to order."""

from __future__ import annotations

import asyncio
from typing import Any

import orjson

from tests.provider.protocol import Json, response_head, token_usage
from tests.provider.server import Behaviour, Exchange


def status(
    code: int, *, retry_after: float | None = None, error_code: str | None = None, message: str = "refused"
) -> Behaviour:
    """Refuse with an HTTP status and an OpenAI-shaped error."""

    async def behave(exchange: Exchange) -> None:
        error = {"message": message, "type": "error", "param": None, "code": error_code}
        headers = {} if retry_after is None else {"retry-after": f"{retry_after:g}"}
        exchange.send(code, orjson.dumps({"error": error}), headers)

    return behave


def garbage() -> Behaviour:
    """Status 200 with a body that is not JSON."""

    async def behave(exchange: Exchange) -> None:
        exchange.send(200, b"<html>gateway says \xff hello</html>")

    return behave


def half_body() -> Behaviour:
    """Announce more bytes than are sent, then close."""

    async def behave(exchange: Exchange) -> None:
        exchange.write(response_head(200, {"content-length": "1000"}) + b'{"id": "chatcmpl-stub", "choices": [')
        exchange.close()

    return behave


def trickle(interval_s: float = 1.0) -> Behaviour:
    """Send the response one byte per interval: the connection never falls silent and never finishes in useful time."""

    async def behave(exchange: Exchange) -> None:
        exchange.write(response_head(200, {"content-length": "100000"}))
        while True:
            await asyncio.sleep(interval_s)
            exchange.write(b" ")

    return behave


def reset() -> Behaviour:
    """Break the connection with RST once the request has been read."""

    async def behave(exchange: Exchange) -> None:
        exchange.reset()

    return behave


def hang() -> Behaviour:
    """Never answer."""

    async def behave(exchange: Exchange) -> None:
        await asyncio.Event().wait()

    return behave


def text(content: str) -> Behaviour:
    """Answer with exactly this text, well-formed or not."""

    async def behave(exchange: Exchange) -> None:
        exchange.complete({"content": content}, "stop")

    return behave


def usage(
    prompt_tokens: int, completion_tokens: int, *, cached_tokens: int = 0, reasoning_tokens: int = 0
) -> Behaviour:
    """Answer normally and bill these tokens."""
    billed = token_usage(prompt_tokens, completion_tokens, cached_tokens, reasoning_tokens)

    async def behave(exchange: Exchange) -> None:
        exchange.complete({"content": exchange.provider.answer_to(exchange.body)}, "stop", billed)

    return behave


def vectors(*rows: Any, usage: Json | None = None) -> Behaviour:
    """Answer a request for embeddings with exactly these vectors, right or wrong."""

    async def behave(exchange: Exchange) -> None:
        exchange.embed(rows, usage)

    return behave


def tool_calls(*calls: tuple[str, Json]) -> Behaviour:
    """Ask for native function calls: pairs of tool name and arguments."""
    asked = [
        {
            "id": f"call_{index}",
            "type": "function",
            "function": {"name": name, "arguments": orjson.dumps(arguments).decode()},
        }
        for index, (name, arguments) in enumerate(calls)
    ]

    async def behave(exchange: Exchange) -> None:
        exchange.complete({"tool_calls": asked}, "tool_calls")

    return behave
