"""Asking for a repricing, making its difference true, stopping it."""

from __future__ import annotations

from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from executions import errors
from executions.models import Repricing
from executions.policies import repricing_policy
from mlops.models import LanguageModel, User
from mlops.sanitiser import refuse_unstorable
from mlops.selectors import not_found
from mlops.services.idempotency import once
from mlops.services.jobs import request_cancel, ring
from mlops.services.locking import locked
from mlops.verbs import verb
from programs.models import Program

TASK, QUEUE = "executions.work_repricings", "ml_training"


@verb(repricing_policy, "start")
def reprice(
    *,
    actor: User,
    since: datetime,
    until: datetime,
    language_model: LanguageModel | None = None,
    program: str = "",
    dry_run: bool = True,
    refunds_credits: bool = False,
    idempotency_key: str = "",
) -> Repricing:
    """Reckon anew what the executions cost that were asked for from `since` to before `until` and have ended.

    The prices are those in force when each of them began. A worker does it; a `dry_run` finds out the difference, which
    `apply_repricing` makes true, and otherwise it is made at once. `program` is a name and means all its versions.
    Credits that were charged too much are given back if `refunds_credits` says so; what was charged too little is
    only told.

    Raises `Forbidden`, `Invalid` (`period_invalid`), `NotFound` (`program_not_found`) and `Conflict`
    (`repricing_underway`, `idempotency_key_reused`).
    """
    repricing_policy.check(actor, "start")
    refuse_unstorable(program, "program")
    now = timezone.now()
    if timezone.is_naive(since) or timezone.is_naive(until) or not since < min(until, now):
        raise errors.period_invalid()
    if program and not Program.objects.filter(name=program).exists():
        raise not_found(Program)

    def create() -> Repricing:
        return _accepted(
            Repricing(
                user=actor,
                since=since,
                until=min(until, now),
                language_model=language_model,
                program=program,
                dry_run=dry_run,
                refunds_credits=refunds_credits,
                prices_as_of=now,
            )
        )

    model = None if language_model is None else language_model.pk
    content = {"reprice": [since, until, model, program, dry_run, refunds_credits]}
    return once(create, Repricing, actor=actor, key=idempotency_key, content=content)[0]


@verb(repricing_policy, "apply")
def apply_repricing(*, actor: User, repricing: Repricing, idempotency_key: str = "") -> Repricing:
    """Make the difference true that `repricing` has shown, once, by the prices as they were then.

    Raises `Forbidden` and `Conflict` (`repricing_not_applicable`, `repricing_applied`, `repricing_underway`,
    `idempotency_key_reused`).
    """
    repricing_policy.check(actor, "apply", repricing)

    def create() -> Repricing:
        with transaction.atomic():
            preview = locked(repricing)
            if not preview.is_applicable:
                raise errors.repricing_not_applicable()
            if Repricing.objects.filter(preview=preview).exists():
                raise errors.repricing_applied()
            return _accepted(
                Repricing(
                    user=actor,
                    since=preview.since,
                    until=preview.until,
                    language_model=preview.language_model,
                    program=preview.program,
                    dry_run=False,
                    refunds_credits=preview.refunds_credits,
                    prices_as_of=preview.prices_as_of,
                    preview=preview,
                )
            )

    content = {"apply": repricing.pk}
    return once(create, Repricing, actor=actor, key=idempotency_key, content=content)[0]


@verb(repricing_policy, "cancel")
def cancel_repricing(*, actor: User, repricing: Repricing) -> Repricing:
    """Stop it. What it has corrected until then stays corrected, each execution with a row that says so.

    Raises `Forbidden` and `Conflict` (`repricing_not_cancellable`).
    """
    repricing_policy.check(actor, "cancel", repricing)
    return request_cancel(repricing)


def _accepted(row: Repricing) -> Repricing:
    try:
        with transaction.atomic():
            row.save(force_insert=True)
            ring(TASK, QUEUE)
    except IntegrityError:
        raise errors.repricing_underway() from None
    return row
