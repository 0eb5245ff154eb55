"""A language-model provider on loopback that speaks the OpenAI protocol (chat completions, embeddings) over real
sockets.

In tests it answers well by itself and misbehaves on demand:

    with Provider() as provider:
        provider.script(status(429, retry_after=3600), reset())  # the next two requests; then it answers again
        ...
        assert provider.requests[0].headers["authorization"] == "Bearer secret"

For benchmarks it runs as a process of its own: `python -m tests.provider --port 9000 --latency-ms 50`; `POST /latency`
with `{"latency_ms": 1000}` changes the latency while it runs.
"""

from tests.provider.behaviours import garbage, half_body, hang, reset, status, text, tool_calls, trickle, usage, vectors
from tests.provider.dictation import Dictation
from tests.provider.server import Answer, Behaviour, Exchange, Provider, Received

__all__ = [
    "Answer",
    "Behaviour",
    "Dictation",
    "Exchange",
    "Provider",
    "Received",
    "garbage",
    "half_body",
    "hang",
    "reset",
    "status",
    "text",
    "tool_calls",
    "trickle",
    "usage",
    "vectors",
]
