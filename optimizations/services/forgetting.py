"""Answers that nobody will ask for again: the memo of a job serves its resumption, and ends some days after the job.

What the job found, used and cost stands in its own row, its candidates and its evaluations.
"""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from mlops.types import TERMINAL_STATES
from optimizations.models import MemoEntry, Optimization

KEPT = timedelta(days=7)
"""For how long after the end somebody may still want to look into what a model answered."""

BATCH = 500
BATCHES = 200
"""How many entries one call deletes, at most: `BATCH` times this. The next call goes on."""


def forget_answers() -> int:
    """Delete memo entries of jobs that ended longer than `KEPT` ago; how many."""
    over = Optimization.objects.filter(state__in=TERMINAL_STATES, finished_at__lt=timezone.now() - KEPT)
    forgotten = 0
    for _batch in range(BATCHES):
        keys = list(MemoEntry.objects.filter(optimization__in=over).values_list("pk", flat=True)[:BATCH])
        forgotten += MemoEntry.objects.filter(pk__in=keys).delete()[0]
        if len(keys) < BATCH:
            break
    return forgotten
