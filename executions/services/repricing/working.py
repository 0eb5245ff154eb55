"""The work of a repricing: one batch of executions after the other, each in a transaction of its own with what it adds
to the sums, so that a lost worker's successor goes on exactly where the last commit was."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import Any

from django.db.models import F, QuerySet

from executions.models import CostCorrection, Execution, Repricing, RepricingDay
from executions.policies import repricing_policy
from executions.services import bulk
from executions.services.repricing.book import Correction, Part, PriceBook
from executions.services.repricing.charges import Charge, charges_of, give_back
from executions.services.repricing.starting import QUEUE, TASK
from executions.services.usage import corrected_usage
from mlops.models.base import first_id_at
from mlops.services.jobs import Held, ring, sweep, work_through
from mlops.types import TERMINAL_STATES

BATCH = 1_000
COLUMNS = (
    "user_id", "program_id", "started_at", "created_at", "finished_at", "token_usage", "cost", "prices", "credits_used",
)  # fmt: skip


def work_repricings() -> int:
    """Work on what is pending, one repricing after the other; how many ended here."""
    return work_through(Repricing.objects.all(), _work)


def sweep_repricings() -> None:
    """Hand back what lost workers held, and ring for what is pending."""
    if sweep(Repricing):
        ring(TASK, QUEUE)


def _work(held: Held[Repricing]) -> None:
    job = held.job
    repricing_policy.check(job.user, "start" if job.dry_run else "apply", job)
    book = PriceBook.of(job.prices_as_of)
    whole = _chosen(job).count()
    is_done = False
    while not is_done:
        with held.guard() as job:
            rows = list(_after_position(job).only(*COLUMNS)[:BATCH])
            is_done = len(rows) < BATCH
            if rows:
                _take(job, rows, book)
        held.report({"done": job.looked_at, "of": max(whole, job.looked_at)}, force=is_done)


def _chosen(job: Repricing) -> QuerySet[Any]:
    """Executions of the period, which is a range of their ids."""
    rows: QuerySet[Any] = Execution.objects.filter(
        pk__gte=first_id_at(job.since), pk__lt=first_id_at(job.until), state__in=TERMINAL_STATES
    )
    if job.program:
        rows = rows.filter(program__name=job.program)
    if job.language_model is not None:
        rows = rows.filter(token_usage__by_model__has_key=job.language_model.name)
    return rows


def _after_position(job: Repricing) -> QuerySet[Any]:
    rows = _chosen(job).order_by("pk")
    return rows if job.position is None else rows.filter(pk__gt=job.position)


def _take(job: Repricing, rows: Sequence[Execution], book: PriceBook) -> None:
    """Look at a batch, and correct it unless that is only to be shown."""
    only = "" if job.language_model is None else job.language_model.name
    found = [correction for row in rows if (correction := book.correction(row, only))]
    charges = charges_of(found)
    if not job.dry_run and found:
        _correct(job, found, charges)
    _add_days(job, found)
    job.position = rows[-1].pk
    job.looked_at += len(rows)
    job.changed += len(found)
    job.priced += sum(one.before is None for one in found if one.after is not None)
    job.unpriced += sum(one.after is None for one in found if one.before is not None)
    job.cost_before += sum(one.before or 0 for one in found)
    job.cost_after += sum(one.after or 0 for one in found)
    job.credits_overcharged += sum(charge.over for charge in charges)
    job.credits_undercharged += sum(charge.under for charge in charges)
    job.save()


def _correct(job: Repricing, found: Sequence[Correction], charges: Sequence[Charge]) -> None:
    """Usage per day follows in the same transaction; executions are locked before accounts."""
    before = {one.execution.pk: one.execution.prices for one in found}
    with corrected_usage(Execution, [one.execution.pk for one in found]):
        for one in found:
            one.make()
        bulk.change([one.execution for one in found], ("cost", "prices", "token_usage"))
    refunded = give_back(job, charges) if job.refunds_credits else {}
    CostCorrection.objects.bulk_create(
        CostCorrection(
            repricing=job,
            execution=one.execution,
            cost_before=one.before,
            cost_after=one.after,
            prices_before=before[one.execution.pk],
            prices_after=one.prices,
            credits_refunded=refunded.get(one.execution.pk, 0),
        )
        for one in found
    )


def _add_days(job: Repricing, found: Sequence[Correction]) -> None:
    parts: dict[tuple[date, str], list[Part]] = defaultdict(list)
    for one in found:
        for part in one.parts:
            ended = one.execution.finished_at or one.execution.created_at
            parts[ended.date(), part.language_model].append(part)
    for (day, language_model), of_day in sorted(parts.items()):
        row, _is_new = RepricingDay.objects.get_or_create(repricing=job, day=day, language_model=language_model)
        RepricingDay.objects.filter(pk=row.pk).update(
            executions=F("executions") + len(of_day),
            priced=F("priced") + sum(part.before is None for part in of_day),
            unpriced=F("unpriced") + sum(part.after is None for part in of_day),
            cost_before=F("cost_before") + sum(part.before or 0 for part in of_day),
            cost_after=F("cost_after") + sum(part.after or 0 for part in of_day),
        )
