"""From what an optimizer found to a version of the program, and the end of the job."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import BigIntegerField, Exists, OuterRef, Q, Sum
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast
from django.utils import timezone
from django.utils.translation import gettext as _

from executions.services import planning
from mlops.models import CreditEntry, User
from mlops.services.credits import MAX_AMOUNT, credits_for, credits_owed, settle
from mlops.services.jobs import Held
from mlops.types import TERMINAL_STATES, CreditKind, JobState
from mlops.verbs import verb
from optimizations import errors
from optimizations.models import Candidate, Optimization
from optimizations.policies import candidate_policy
from optimizations.runtime.candidates import BASELINE
from optimizations.selectors import CANDIDATE
from optimizations.services.starting import reservation_key
from optimizations.types import CandidateState, CompileResult, FinishReason
from programs.models import Program
from programs.services import create_result_version

LOOK_BACK = timedelta(days=1)
"""How long ago a job may have ended whose credits are still to be settled."""


@verb(candidate_policy, "adopt")
def adopt_candidate(*, actor: User, candidate: Candidate) -> Program:
    """A new draft version of the program with the prompts of `candidate`, whatever its optimization made of it.

    Raises `Forbidden`, `NotFound`, `Conflict` (`program_changed`) and what `create_result_version` raises.
    """
    candidate_policy.check(actor, "adopt", candidate)
    return version_of(candidate, actor=actor)


def version_of(candidate: Candidate, *, actor: User) -> Program:
    """The draft of a candidate. Raises `Conflict` (`program_changed`) when its program is not what was compiled."""
    optimization = candidate.optimization
    refuse_changed(optimization)
    return create_result_version(
        actor=actor,
        program=optimization.program,
        prompts=CandidateState.from_json(candidate.state).prompts,
        source_kind=CANDIDATE,
        source_id=candidate.pk,
    )


def refuse_changed(optimization: Optimization) -> planning.Plan:
    """The plan of the program that is compiled, as it was asked for. Raises `Conflict` (`program_changed`)."""
    plan = planning.plan_by_ids(optimization.program_id, optimization.prompt_set_id, None)
    if plan.built.digest != optimization.spec_digest:
        raise errors.program_changed()
    return plan


def store_search(row: Optimization, found: CompileResult, *, seconds_before: float) -> None:
    """Note on the job how its optimizer ended and what it used, and which candidate is the best. The caller saves."""
    row.finish_reason = found.finish_reason.value
    row.calls, row.cost, row.total_tokens = found.calls, found.cost, found.usage.total
    row.token_usage = {
        **found.usage.as_json(),
        "by_model": {name: usage.as_json() for name, usage in found.by_model.items()},
    }
    row.seconds = seconds_before + found.seconds
    row.warnings = [*row.warnings, *found.warnings, *_warnings(found)]
    row.candidates.filter(number__gte=found.candidates).delete()  # of an attempt that went another way
    row.candidates.filter(is_best=True).update(is_best=False)
    if found.best is not None:
        row.candidates.filter(number=found.best.number).update(is_best=True)


def best_of(row: Optimization) -> Candidate | None:
    """The best candidate, unless it is the program as it came."""
    best: Candidate | None = row.candidates.filter(is_best=True).exclude(label=BASELINE).first()
    return best


def end_cancelled(held: Held[Optimization]) -> None:
    """Cancel the job; its candidates stay."""

    def cancel(row: Optimization) -> None:
        row.finish_reason = FinishReason.CANCELLED.value
        row.cancel()

    held.end(cancel, also=settle_credits)


def end_failed(held: Held[Optimization], code: str, message: str) -> None:
    """Fail the job; its candidates stay."""

    def fail(row: Optimization) -> None:
        row.finish_reason = FinishReason.FAILED.value
        row.fail(code, message)

    held.end(fail, also=settle_credits)


def refuse_in_use(program: Program) -> None:
    """Raise `Conflict` (`program_in_use`) while a compile of `program` is pending or running."""
    its = Q(program=program) | Q(result_program=program)
    working = Optimization.objects.filter(its, state__in=[JobState.PENDING, JobState.RUNNING]).first()
    if working is not None:
        raise errors.program_in_use(working)


def settle_ended() -> None:
    """Settle jobs that nobody ended by hand, such as those that lost too many workers."""
    ended = Optimization.objects.filter(state__in=TERMINAL_STATES, finished_at__gt=timezone.now() - LOOK_BACK)
    settled = CreditEntry.objects.filter(
        subject_id=OuterRef("pk"), kind__in=[CreditKind.SETTLE.value, CreditKind.RELEASE.value]
    )
    for row in ended.exclude(Exists(settled)):
        settle_credits(row)


def settle_credits(row: Optimization) -> None:
    """Charge what the optimizer used, once. Inside of the transaction that ends the job."""
    reservation = CreditEntry.objects.get(key=reservation_key(row))
    settle(reservation=reservation, used=min(credits_used(row), MAX_AMOUNT))


def credits_used(row: Optimization) -> int:
    """Micro-credits that the optimizer itself used; where the cost of an answer is unknown, at least what was reserved."""
    if row.cost is not None:
        return credits_for(row.cost)
    reservation = CreditEntry.objects.get(key=reservation_key(row))
    return credits_owed(known_cost=_known_cost(row), is_unpriced=True, reserved=-reservation.amount)


def _known_cost(row: Optimization) -> int:
    """Pico-dollars of the answers whose cost is known."""
    costs = row.memo_entries.annotate(cost=Cast(KeyTextTransform("cost", "response"), BigIntegerField()))
    return int(costs.aggregate(known=Sum("cost", default=0))["known"])


def _warnings(found: CompileResult) -> list[str]:
    said = []
    if found.metric_failures:
        said.append(
            _("%(n)d of %(all)d scores of the search failed and counted as the worst.")
            % {"n": found.metric_failures, "all": found.metric_calls}
        )
    if found.failed_calls:
        said.append(_("%(n)d model calls of the search failed.") % {"n": found.failed_calls})
    return said
