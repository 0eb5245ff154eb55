"""The provider as a process of its own, for benchmarks and for trying things by hand."""

from __future__ import annotations

import argparse
import asyncio

import uvloop

from tests.provider.server import Provider


async def _serve(port: int, latency_s: float) -> None:
    provider = Provider(port=port, latency_s=latency_s, keep=0)
    server = await provider.listen()
    print(provider.base_url, flush=True)
    await server.serve_forever()


def main() -> None:
    """Serve until terminated; the base URL is the first line printed."""
    parser = argparse.ArgumentParser(description="OpenAI-compatible provider on loopback")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    options = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(options.port, options.latency_ms / 1000))


if __name__ == "__main__":
    main()
