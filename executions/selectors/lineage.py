"""What an execution came from, and which executions something went into.

An execution's keys are its lineage: program, prompt set, and through the prompt versions their demos and the examples
behind them. What lies above this app, such as the compile job that found a prompt, is told by whoever knows it, in both
directions (`add_lineage_source`). What a reader may not see is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery

from datasets.models import Dataset, Example
from executions.models import Execution, Metric
from mlops.models import ModelPrice
from mlops.querysets import Viewer
from programs.models import Demo, Program, PromptSet, PromptVersion


@dataclass(frozen=True, slots=True)
class Compile:
    """A compile job that found prompts which an execution used, told by the app that knows such jobs."""

    id: UUID
    optimizer: str
    candidate_id: UUID
    candidate: str
    score: float | None
    dataset_id: UUID
    validation_set_id: UUID | None
    metric_id: UUID
    prompt_versions: tuple[UUID, ...]


@dataclass(frozen=True, slots=True)
class Lineage:
    """Everything that an execution came from, as far as its reader may see it."""

    execution: Execution
    program: Program
    prompt_set: PromptSet | None
    prompts: Sequence[PromptVersion]
    demos: Sequence[Demo]
    optimizations: Sequence[Compile]
    datasets: Sequence[Dataset]
    metrics: Sequence[Metric]
    prices: Sequence[ModelPrice]

    def demos_of(self, prompt: PromptVersion) -> list[Demo]:
        return [demo for demo in self.demos if demo.prompt_version_id == prompt.pk]


Source: TypeAlias = Callable[[Viewer, Sequence[PromptVersion]], Iterable[Compile]]
Findings: TypeAlias = Callable[[Viewer, UUID], Iterable[UUID]]

_sources: list[Source] = []
_findings: list[Findings] = []


def add_lineage_source(source: Source, findings: Findings) -> None:
    """Have lineages tell of the compile jobs that `source` knows behind prompt versions, and of a dataset version the
    prompt versions that were found with it, whether they have demos or not (`findings`). Called when apps are ready.
    """
    _sources.append(source)
    _findings.append(findings)


def lineage_of(*, actor: Viewer, execution: Execution) -> Lineage:
    """The lineage of an execution that `actor` may see, in a number of queries that does not depend on its size."""
    program: Program = Program.objects.get(pk=execution.program_id)
    prompt_set = PromptSet.objects.visible_to(actor).filter(pk=execution.prompt_set_id).first()
    prompts = _prompts(actor, execution)
    demos = list(_demos(actor, prompts))
    compiles = [found for source in _sources for found in source(actor, prompts)]
    datasets = {demo.example.dataset_id for demo in demos if demo.example is not None}
    datasets |= {key for found in compiles for key in (found.dataset_id, found.validation_set_id) if key}
    return Lineage(
        execution=execution,
        program=program,
        prompt_set=prompt_set,
        prompts=prompts,
        demos=demos,
        optimizations=compiles,
        datasets=_rows(Dataset, actor, datasets),
        metrics=_rows(Metric, actor, {found.metric_id for found in compiles}),
        prices=list(ModelPrice.objects.visible_to(actor).filter(pk__in=execution.prices).select_related("model")),
    )


def executions_of(
    rows: QuerySet[Execution], prompt_sets: Iterable[UUID] | QuerySet[PromptSet, Any]
) -> QuerySet[Execution]:
    """Those of `rows` that used one of `prompt_sets`, each found by the index of its set.

    Of several sets the newest id of all is a bound as well: a list of the newest executions need not walk through those
    that came after the last use.
    """
    newest = Execution.objects.filter(prompt_set=OuterRef("pk")).order_by("-id").values("id")[:1]
    used = PromptSet.objects.filter(pk__in=list(prompt_sets)).annotate(newest=Subquery(newest))
    last = {key: last for key, last in used.values_list("pk", "newest") if last is not None}
    if not last:
        return rows.none()
    if len(last) == 1:
        return rows.filter(prompt_set_id=next(iter(last)))
    return rows.filter(prompt_set_id__in=last, id__lte=max(last.values()))


def sets_with_prompt_version(actor: Viewer, key: UUID) -> QuerySet[PromptSet, Any]:
    return _sets(PromptVersion.objects.visible_to(actor).filter(pk=key).values("pk"))


def sets_with_demo(actor: Viewer, digest: str) -> QuerySet[PromptSet, Any]:
    return _sets(Demo.objects.visible_to(actor).filter(digest=digest).values("prompt_version"))


def sets_with_example(actor: Viewer, key: UUID) -> QuerySet[PromptSet, Any]:
    return _sets_with_examples(actor, Example.objects.visible_to(actor).filter(pk=key))


def sets_with_dataset(actor: Viewer, key: UUID) -> list[UUID]:
    """By their demos, and by the compile jobs that found their prompts with it."""
    found = {prompt for findings in _findings for prompt in findings(actor, key)}
    with_demos = _sets_with_examples(actor, Example.objects.visible_to(actor).filter(dataset_id=key))
    return [*with_demos, *_sets(PromptVersion.objects.visible_to(actor).filter(pk__in=found).values("pk"))]


def _sets_with_examples(actor: Viewer, examples: QuerySet[Any]) -> QuerySet[PromptSet, Any]:
    return _sets(Demo.objects.visible_to(actor).filter(example__in=examples.values("pk")).values("prompt_version"))


def _sets(prompt_versions: QuerySet[Any, Any]) -> QuerySet[PromptSet, Any]:
    links = PromptSet.versions.through.objects.filter(promptversion__in=prompt_versions)
    return links.values_list("promptset_id", flat=True).distinct()  # type: ignore[return-value]  # ids of prompt sets


def _prompts(actor: Viewer, execution: Execution) -> list[PromptVersion]:
    rows = PromptVersion.objects.visible_to(actor).filter(prompt_sets=execution.prompt_set_id)
    return list(rows.select_related("module").defer("demos").order_by("module__position", "module_id"))


def _demos(actor: Viewer, prompts: Sequence[PromptVersion]) -> Iterable[Demo]:
    """With the example of each, where the reader may see it."""
    demos = list(Demo.objects.filter(prompt_version__in=prompts).order_by("prompt_version_id", "position"))
    named = {demo.example_id for demo in demos if demo.example_id}
    examples = {row.pk: row for row in Example.objects.visible_to(actor).filter(pk__in=named).defer("data")}
    for demo in demos:
        demo.example = examples.get(demo.example_id)
        yield demo


def _rows(model: Any, actor: Viewer, keys: set[UUID]) -> list[Any]:
    return list(model.objects.visible_to(actor).filter(pk__in=keys).order_by("name", "version"))
