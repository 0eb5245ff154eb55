"""How many requests a minute a token and a user may make, and how many log-ins an address.

All processes of the installation count together. Any 60 seconds count, not minutes of the clock, so that nobody gets
twice as much around a full minute. The times are kept in Redis; without Redis there is one process, and they are kept
in its memory.

While Redis does not answer, requests are let through: a limit is there to share what there is, and an installation that
refuses everybody because it cannot count shares nothing. What may be spent is limited elsewhere, by credits.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from functools import lru_cache
from typing import TypeAlias
from weakref import WeakKeyDictionary

from django.conf import settings
from django.utils.translation import gettext as _
from limits import RateLimitItemPerMinute, WindowStats
from limits.aio.storage import RedisStorage as AsyncRedisStorage
from limits.aio.strategies import MovingWindowRateLimiter as AsyncRateLimiter
from limits.storage import MemoryStorage, RedisStorage
from limits.strategies import MovingWindowRateLimiter as RateLimiter
from redis import RedisError

from mlops.errors import TooMany
from mlops.models import User

ANSWER_S = 2.0
"""How long a request waits for Redis: a busy process must not take its own slowness for an outage."""

AWAY_S = 5.0
"""How long Redis is not asked again once it did not answer."""

LOGINS_PER_MINUTE = 30
"""From one address, under whatever names: enough for an office behind one address, too few to try many names."""

WARN_EVERY_S = 60.0
KEYS = "signet:rate"

Limit: TypeAlias = tuple[RateLimitItemPerMinute, str]

logger = logging.getLogger(__name__)


def check_rate(actor: User) -> None:
    """Count a request of `actor`. Raises `TooMany` (`rate_limited`, with the seconds after which to come again)."""
    _check(_limits_of(actor))


def check_login_rate(address: str | None) -> None:
    """Count a log-in that is tried from `address`. Raises as `check_rate`."""
    _check([(_per_minute(LOGINS_PER_MINUTE), f"address:{address}")])


def _check(limits: list[Limit]) -> None:
    if not limits or _outage.lasts():
        return
    limiter = _limiter(settings.SIGNET_REDIS_URL)
    try:
        full = _first_full(limiter, limits)
        if full is not None:
            raise _refusal(full, limiter.get_window_stats(*full))
    except RedisError as error:
        _outage.begin(error)


async def acheck_rate(actor: User) -> None:
    """`check_rate` on an event loop, without a thread."""
    limits = _limits_of(actor)
    if not limits or _outage.lasts():
        return
    if not settings.SIGNET_REDIS_URL:
        return check_rate(actor)
    limiter = _limiter_of_loop()
    try:
        full = await _afirst_full(limiter, limits)
        if full is not None:
            raise _refusal(full, await limiter.get_window_stats(*full))
    except RedisError as error:
        _outage.begin(error)


def _limits_of(actor: User) -> list[Limit]:
    found = []
    if actor.grant is not None and actor.grant.rate_limit:
        found.append((_per_minute(actor.grant.rate_limit), f"token:{actor.grant.token}"))
    if of_user := settings.SIGNET_RATE_LIMIT if actor.rate_limit is None else actor.rate_limit:
        found.append((_per_minute(of_user), f"user:{actor.pk}"))
    return found


# What a later limit refuses must use up nothing of an earlier one: the later ones are looked at first.


def _first_full(limiter: RateLimiter, limits: list[Limit]) -> Limit | None:
    for limit in limits[1:]:
        if not limiter.test(*limit):
            return limit
    for limit in limits:
        if not limiter.hit(*limit):
            return limit
    return None


async def _afirst_full(limiter: AsyncRateLimiter, limits: list[Limit]) -> Limit | None:
    for limit in limits[1:]:
        if not await limiter.test(*limit):
            return limit
    for limit in limits:
        if not await limiter.hit(*limit):
            return limit
    return None


def _refusal(limit: Limit, window: WindowStats) -> TooMany:
    wait_s = 1 if window.remaining > 0 else max(math.ceil(window.reset_time - time.time()), 1)
    message = _("More than %(most)d requests within a minute.") % {"most": limit[0].amount}
    of = limit[1].partition(":")[0]
    return TooMany("rate_limited", message, extra={"retry_after_s": wait_s, "limit": limit[0].amount, "of": of})


class _Outage:
    """Remembers for a while that Redis does not answer, so that not every request waits for it."""

    def __init__(self) -> None:
        self._until = self._silent_until = 0.0

    def lasts(self) -> bool:
        return time.monotonic() < self._until

    def begin(self, error: Exception) -> None:
        now = time.monotonic()
        self._until = now + AWAY_S
        if now >= self._silent_until:
            self._silent_until = now + WARN_EVERY_S
            logger.warning("Redis does not answer; requests are not counted against rate limits (%s)", error)


_outage = _Outage()
_limiters: WeakKeyDictionary[asyncio.AbstractEventLoop, tuple[str, AsyncRateLimiter]] = WeakKeyDictionary()


@lru_cache(maxsize=1_000)
def _per_minute(amount: int) -> RateLimitItemPerMinute:
    return RateLimitItemPerMinute(amount)


@lru_cache(maxsize=1)
def _limiter(url: str) -> RateLimiter:
    if not url:
        return RateLimiter(MemoryStorage())
    return RateLimiter(RedisStorage(url, key_prefix=KEYS, socket_timeout=ANSWER_S, socket_connect_timeout=ANSWER_S))


def _limiter_of_loop() -> AsyncRateLimiter:
    """Connections belong to the loop on which they were made."""
    loop, url = asyncio.get_running_loop(), settings.SIGNET_REDIS_URL
    known = _limiters.get(loop)
    if known is None or known[0] != url:
        storage = AsyncRedisStorage(
            f"async+{url}",
            implementation="redispy",
            key_prefix=KEYS,
            socket_timeout=ANSWER_S,
            socket_connect_timeout=ANSWER_S,
        )
        known = _limiters[loop] = (url, AsyncRateLimiter(storage))
    return known[1]
