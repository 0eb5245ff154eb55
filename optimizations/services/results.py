"""From what an optimizer found to a version of the program."""

from __future__ import annotations

from django.db.models import Q
from django.utils.translation import gettext as _

from executions.services import planning
from mlops.models import User
from mlops.types import JobState
from mlops.verbs import verb
from optimizations import errors
from optimizations.models import Candidate, Optimization
from optimizations.policies import candidate_policy
from optimizations.runtime.candidates import BASELINE
from optimizations.selectors import CANDIDATE
from optimizations.services.ending import note_spent
from optimizations.types import CandidateState, CompileResult
from programs.models import Program
from programs.services import create_result_version


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
    note_spent(row)
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


def refuse_in_use(program: Program) -> None:
    """Raise `Conflict` (`program_in_use`) while a compile of `program` is pending or running."""
    its = Q(program=program) | Q(result_program=program)
    working = Optimization.objects.filter(its, state__in=[JobState.PENDING, JobState.RUNNING]).first()
    if working is not None:
        raise errors.program_in_use(working)


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
