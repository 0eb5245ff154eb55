"""Why work on a job stops before it is done, and how a process that ends tells it."""

from __future__ import annotations

import mmap
from enum import StrEnum


class StopReason(StrEnum):
    """Why work on a job has to stop before it is done."""

    CANCELLED = "cancelled"
    HANDED_BACK = "handed_back"
    LOST = "lost"


class Stopped(Exception):
    """Raised in work on a job that must not go on."""

    def __init__(self, reason: StopReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


_shutting_down = mmap.mmap(-1, 1)
"""One byte that a process shares with those that are forked from it: a prefork worker's parent hears of the shutdown,
its children do the work."""


def stop_working() -> None:
    """This process ends: whoever works on a job here, or in a process forked from it, is told to hand it back."""
    _shutting_down[0] = 1


def resume_working() -> None:
    """The opposite, for processes that start a worker again."""
    _shutting_down[0] = 0


def is_stopping() -> bool:
    return bool(_shutting_down[0])
