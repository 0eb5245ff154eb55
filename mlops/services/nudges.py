"""Nudges: whoever commits a change tells all processes that rows of that kind have changed, and they look at once.

A nudge carries nothing and may be lost: readers also look by themselves every while (`mlops.services.watching`). Nudges
travel over a channel layer, by Redis between processes, in memory where there is only one.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Callable
from typing import Any

from channels.layers import get_channel_layer  # type: ignore[import-untyped]
from django.conf import settings
from django.db import models
from redis import RedisError

logger = logging.getLogger(__name__)

PAUSE_S = 0.05
"""What is nudged within this time after a nudge goes into the next one."""

AGAIN_S = 5.0
"""How long Redis is not asked again once it did not answer."""

_listening: set[asyncio.AbstractEventLoop] = set()
"""Loops of this process on which somebody hears; without Redis nobody else does."""


class Nudger:
    """Sends nudges from a thread of its own, so that a slow or absent Redis holds nobody up."""

    def __init__(self) -> None:
        self._changed: set[str] = set()
        self._rung = threading.Event()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def nudge(self, model: type[models.Model]) -> None:
        if not settings.SIGNET_REDIS_URL and not _listening:
            return
        with self._lock:
            self._changed.add(_group(model))
            if self._thread is None or not self._thread.is_alive():  # dead in a process that was forked, too
                self._thread = threading.Thread(target=self._main, name="nudges", daemon=True)
                self._thread.start()
        self._rung.set()

    def _main(self) -> None:
        with asyncio.Runner() as runner:
            while True:
                self._rung.wait()
                self._rung.clear()
                with self._lock:
                    groups, self._changed = self._changed, set()
                time.sleep(PAUSE_S if self._are_told(runner, groups) else AGAIN_S)

    def _are_told(self, runner: asyncio.Runner, groups: set[str]) -> bool:
        try:
            if settings.SIGNET_REDIS_URL:
                runner.run(_tell(groups))
            else:
                _tell_here(groups)
        except (RedisError, OSError) as error:
            logger.warning("Redis does not answer; changes will be seen a little later (%s)", type(error).__name__)
            return False
        return True


_nudger = Nudger()
nudge = _nudger.nudge
"""`nudge(model)`, after the commit, from any thread: rows of `model` have changed."""


async def hear(model: type[models.Model], told: Callable[[], None]) -> None:
    """Call `told` for each nudge of `model`, until cancelled."""
    loop = asyncio.get_running_loop()
    _listening.add(loop)
    try:
        while True:
            try:
                await _hear(_group(model), told)
            except (RedisError, OSError) as error:
                logger.warning("Redis does not answer; changes are looked for instead (%s)", type(error).__name__)
                await asyncio.sleep(AGAIN_S)
    finally:
        _listening.discard(loop)


async def _hear(group: str, told: Callable[[], None]) -> None:
    layer: Any = get_channel_layer()
    channel = await layer.new_channel()
    try:
        await layer.group_add(group, channel)
        told()  # what was committed before
        while True:
            await layer.receive(channel)
            told()
    finally:
        with contextlib.suppress(RedisError, OSError):
            await layer.group_discard(group, channel)


async def _tell(groups: set[str]) -> None:
    layer: Any = get_channel_layer()
    for group in groups:
        await layer.group_send(group, {"type": "changed"})


def _tell_here(groups: set[str]) -> None:
    """The layer in memory belongs to the loop of those who hear."""
    for loop in list(_listening):
        telling = _tell(groups)
        try:
            asyncio.run_coroutine_threadsafe(telling, loop)
        except RuntimeError:  # the loop has just been closed: nobody hears there
            telling.close()


def _group(model: type[models.Model]) -> str:
    return f"changed.{model._meta.label_lower}"
