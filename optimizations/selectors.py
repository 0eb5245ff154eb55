"""Reads of optimizations in the scope of an actor, and what the optimizers of this installation are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Q

from datasets.models import Dataset
from executions.selectors.lineage import Compile
from mlops.querysets import Viewer
from optimizations.errors import candidate_not_found, optimization_not_found
from optimizations.models import Candidate, Optimization
from optimizations.policies import optimization_policy
from optimizations.runtime.params import NOT_OFFERED, json_schema_of_params
from optimizations.types import OptimizerName
from programs.models import PromptVersion
from programs.selectors.timeline import Event, Page

CANDIDATE = "candidate"
"""`source_kind` of prompt versions that an optimization found."""

JOINED = ("program", "dataset", "validation_set", "metric", "user", "result_program")
"""What the representation of an optimization reads of other rows."""


def access_optimization(*, actor: Viewer, optimization_id: UUID, action: str | None = "view") -> Optimization:
    """The optimization with what it works on, if `actor` may do `action` to it (None: they have done it).

    Raises `NotFound` (`optimization_not_found`) and `Forbidden`.
    """
    rows = Optimization.objects.known_to(actor).select_related(*JOINED, "prompt_model")
    found: Optimization | None = rows.filter(pk=optimization_id).first()
    if found is None:
        raise optimization_not_found()
    if action is not None:
        optimization_policy.check(actor, action, found)
    return found


def access_candidate(*, actor: Viewer, candidate_id: UUID) -> Candidate:
    """The candidate, if `actor` may see it. Raises `NotFound` (`candidate_not_found`)."""
    rows = Candidate.objects.visible_to(actor).select_related("optimization__program")
    found: Candidate | None = rows.filter(pk=candidate_id).first()
    if found is None:
        raise candidate_not_found()
    return found


def offered_optimizers() -> list[dict[str, Any]]:
    """Every optimizer with its parameters as JSON Schema and what it does in words."""
    found = []
    for name in OptimizerName:
        schema = json_schema_of_params(name)
        found.append({"name": name.value, "description": schema.get("description", ""), "parameters": schema})
    return found


def optimizers_not_offered() -> Mapping[str, str]:
    """What DSPy has beyond them, with the reason why it is not offered."""
    return NOT_OFFERED


def compiles_behind(viewer: Viewer, prompts: Sequence[PromptVersion]) -> list[Compile]:
    """The compile jobs whose candidates `prompts` come from, for lineages."""
    found: dict[UUID, list[UUID]] = {}
    for prompt in prompts:
        if prompt.source_kind == CANDIDATE and prompt.source_id:
            found.setdefault(prompt.source_id, []).append(prompt.pk)
    candidates = Candidate.objects.visible_to(viewer).filter(pk__in=found).select_related("optimization").defer("state")
    return [
        Compile(
            id=candidate.optimization_id,
            optimizer=candidate.optimization.optimizer,
            candidate_id=candidate.pk,
            candidate=f"#{candidate.number} {candidate.label}".strip(),
            score=candidate.score,
            dataset_id=candidate.optimization.dataset_id,
            validation_set_id=candidate.optimization.validation_set_id,
            metric_id=candidate.optimization.metric_id,
            prompt_versions=tuple(found[candidate.pk]),
        )
        for candidate in candidates.order_by("pk")
    ]


def prompts_found_with(viewer: Viewer, dataset: UUID) -> list[UUID]:
    """The prompt versions that compile jobs found which learned from a dataset version, or chose by it."""
    if not Dataset.objects.visible_to(viewer).filter(pk=dataset).exists():
        return []
    jobs = Optimization.objects.visible_to(viewer).filter(Q(dataset=dataset) | Q(validation_set=dataset))
    candidates = Candidate.objects.filter(optimization__in=jobs.values("pk")).values("pk")
    prompts = PromptVersion.objects.visible_to(viewer).filter(source_kind=CANDIDATE, source_id__in=candidates)
    return list(prompts.values_list("pk", flat=True))


def compile_jobs(page: Page) -> Iterator[Event]:
    """Compile jobs, for the timeline of the program that they compile."""
    jobs = Optimization.objects.visible_to(page.viewer).filter(program__in=page.versions)
    for job in page.latest(jobs.select_related("user", "result_program"), "created_at"):
        yield Event(
            id=str(job.pk),
            time=job.created_at,
            kind="optimization",
            verb="compile",
            record="optimization",
            record_id=job.pk,
            title=job.optimizer,
            version=page.version_of(job.program_id),
            user=job.user.username,
            note=job.error_message,
            result=f"{job.state}: {job.result_program}" if job.result_program else job.state,
        )
