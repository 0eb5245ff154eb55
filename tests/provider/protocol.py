"""How an answer looks on the wire: HTTP heads, whole and streamed chat completions, token counts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

Json = dict[str, Any]

_REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 429: "Too Many Requests"}


@dataclass(frozen=True)
class Completion:
    """The content of one answer, in the two forms of the protocol."""

    request: Json
    message: Json
    finish_reason: str
    usage: Json

    def whole(self) -> Json:
        message = {"role": "assistant", "content": None, **self.message}
        choice = {"index": 0, "message": message, "finish_reason": self.finish_reason}
        return self._frame("chat.completion", choices=[choice], usage=self.usage)

    def events(self) -> Iterator[bytes]:
        """The server-sent events of a streamed answer; usage only where `stream_options.include_usage` asks for it."""
        yield self.opening()
        for start in range(0, len(content := self.message.get("content") or ""), 12):
            yield self.said(content[start : start + 12])
        yield from self.closing()

    def opening(self) -> bytes:
        return self._delta({"role": "assistant", "content": ""})

    def said(self, text: str) -> bytes:
        return self._delta({"content": text})

    def closing(self) -> Iterator[bytes]:
        """What follows the text: tool calls, why it ends, what it used."""
        if calls := self.message.get("tool_calls"):
            yield self._delta({"tool_calls": [{"index": index, **call} for index, call in enumerate(calls)]})
        yield self._delta({}, self.finish_reason)
        if (self.request.get("stream_options") or {}).get("include_usage"):
            yield _event(self._frame("chat.completion.chunk", choices=[], usage=self.usage))
        yield b"data: [DONE]\n\n"

    def _delta(self, delta: Json, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
        return _event(self._frame("chat.completion.chunk", choices=[choice]))

    def _frame(self, kind: str, **content: Any) -> Json:
        return {"id": "chatcmpl-stub", "object": kind, "created": 0, "model": self.request.get("model"), **content}


def _event(payload: Json) -> bytes:
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def http_chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def response_head(status: int, headers: dict[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_REASONS.get(status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in {"content-type": "application/json", **headers}.items()]
    return "\r\n".join([*lines, "", ""]).encode()


def token_usage(prompt: int, completion: int, cached: int, reasoning: int = 0) -> Json:
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": cached},
        "completion_tokens_details": {"reasoning_tokens": reasoning},
    }
