"""What it takes a request to know its actor by a token and to ask the policy of execute, in milliseconds of CPU.

Prints one JSON line: `python -m benchmarks.tokens --rounds 5`. For a plain token, one with scopes, one that is good for
50 programs alone, and one with a rate limit that is counted in memory:

- `cached_ms`: the token was looked up within the last seconds, as it is for all but the first of many requests;
- `missed_ms`: it has to be looked up on a database thread;
- `amortised_ms`: the mean of a client that sends ten requests a second.

It runs in a data folder of its own, on SQLite unless DATABASE_URL names another database, which must be empty.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Any

CALLS = 5_000
MISSES = 200
REQUESTS_PER_SECOND = 10
PROGRAMS = [f"program{number}" for number in range(50)]
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "scoped": {"scopes": ["execute"]},
    "restricted": {"programs": PROGRAMS},
    "limited": {"rate_limit": 100_000},
}


def main() -> int:
    parser = argparse.ArgumentParser(description="token lookup and policy check of one request")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="signet-tokens-") as folder:
        os.environ |= {"SIGNET_DATA_DIR": folder, "DJANGO_SETTINGS_MODULE": "config.settings"}
        found = measured(options.rounds)
    print(json.dumps(found))
    return 0


def measured(rounds: int) -> dict[str, list[dict[str, float]]]:
    """Figures of every round by variant. Django is loaded here, since it reads the environment when it is imported."""
    import django  # noqa: PLC0415

    django.setup()
    from django.core.management import call_command  # noqa: PLC0415

    from mlops.models import User  # noqa: PLC0415
    from mlops.services.tokens import create_token  # noqa: PLC0415
    from programs.models import Program  # noqa: PLC0415

    call_command("migrate", verbosity=0)
    actor = User.objects.create_user("bench", role="ml_engineer")
    rows = Program.objects.bulk_create(Program(name=name, status="production") for name in PROGRAMS)
    raw = {
        variant: create_token(actor=actor, user=actor, name=variant, **limits)[1]
        for variant, limits in VARIANTS.items()
    }
    return asyncio.run(_rounds(rounds, raw, rows[-1]))


async def _rounds(rounds: int, raw: dict[str, str], program: Any) -> dict[str, list[dict[str, float]]]:
    from mlops.services.database import DatabaseThreads, serve_this_process  # noqa: PLC0415

    threads = DatabaseThreads()
    serve_this_process(threads)
    figures: dict[str, list[dict[str, float]]] = {variant: [] for variant in raw}
    for _ in range(rounds):
        for variant, token in raw.items():
            figures[variant].append(await _figures(token, program))
    threads.close()
    return figures


async def _figures(token: str, program: Any) -> dict[str, float]:
    from mlops.policies import Policy  # noqa: PLC0415
    from mlops.services.database import off_the_loop  # noqa: PLC0415
    from mlops.services.rates import acheck_rate  # noqa: PLC0415
    from mlops.services.tokens import CACHE_SECONDS, cached_actor, forget_tokens  # noqa: PLC0415
    from programs.policies import program_policy  # noqa: PLC0415

    policy: Policy = program_policy

    async def request() -> None:
        actor = await cached_actor(token, off_the_loop)
        assert actor is not None
        await acheck_rate(actor)
        assert policy.sees(actor, program)
        policy.check(actor, "execute", program)

    async def request_of_a_stranger_to_the_cache() -> None:
        forget_tokens()
        await request()

    await request()
    cached = await _mean_ms(request, CALLS)
    missed = await _mean_ms(request_of_a_stranger_to_the_cache, MISSES)
    return {
        "cached_ms": cached,
        "missed_ms": missed,
        "amortised_ms": cached + (missed - cached) / (REQUESTS_PER_SECOND * CACHE_SECONDS),
    }


async def _mean_ms(call: Callable[[], Awaitable[None]], times: int) -> float:
    """CPU time of all threads of the process, so that what else the machine does is no part of it."""
    began = time.process_time()
    for _ in range(times):
        await call()
    return 1000 * (time.process_time() - began) / times


if __name__ == "__main__":
    sys.exit(main())
