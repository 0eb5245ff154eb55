"""From what people really asked, and what they said of the answers, to examples."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db.models import OuterRef, Prefetch, QuerySet, Subquery
from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from datasets.models import Dataset
from datasets.policies import dataset_policy
from datasets.services import create_dataset
from datasets.types import DatasetType, digest_of
from executions.errors import invalid_collection, nothing_to_collect, several_programs
from executions.models import Execution, Feedback
from executions.policies import execution_policy
from executions.types import ExecutionState
from mlops.models import User
from mlops.verbs import verb
from programs.models import Program
from programs.selectors import access_program

SOURCE_KIND = "execution"
MAX_EXAMPLES = 10_000
BATCH = 500


@verb(execution_policy, "collect")
def collect_examples(
    *,
    actor: User,
    name: str,
    type: DatasetType | str,
    program: Program | str | None = None,
    feedback_name: str = "",
    min_score: float | None = None,
    max_score: float | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    executions: Iterable[UUID] | None = None,
    limit: int = 1_000,
    description: str = "",
) -> Dataset:
    """Make the next version of the dataset `name` from the newest `limit` completed executions that `actor` sees.

    An example is the input of an execution with its output; what a person said was expected (`Feedback.expected`, the
    newest) stands in place of the output. Executions whose input or output was not kept are left out.

    `program` is a version, or a reference: a name alone means all its versions. `feedback_name` asks for feedback of
    that name, `min_score` and `max_score` bound the score of the newest feedback (of that name); `since` and `until`
    bound the time of creation, `until` excluded; `executions` are ids to choose from. What the new version leaves out,
    such as duplicates, is counted in its description.

    Raises `Forbidden`, `NotFound` (`program_not_found`), `Invalid` (`nothing_to_collect`, `several_programs`,
    `collection_invalid`) and what `create_dataset` raises.
    """
    execution_policy.check(actor, "collect")
    dataset_policy.check(actor, "create")
    _check(feedback_name, min_score, max_score, limit)
    visible: QuerySet[Execution] = Execution.objects.visible_to(actor)
    rows = visible.filter(state=ExecutionState.COMPLETED, output__isnull=False)
    rows = _of_program(rows, actor, program)
    rows = _rated(rows, feedback_name, min_score, max_score)
    if since is not None:
        rows = rows.filter(created_at__gte=since)
    if until is not None:
        rows = rows.filter(created_at__lt=until)
    if executions is not None:
        rows = rows.filter(pk__in=list(executions))
    collected = _collected(rows.exclude(input={}).exclude(output={}).order_by("-id")[:limit], feedback_name)
    if not collected.data:
        raise nothing_to_collect()
    return create_dataset(
        actor=actor,
        name=name,
        type=type,
        examples=list(reversed(collected.data)),
        source_ids=list(reversed(collected.sources)),
        source_kind=SOURCE_KIND,
        description=" ".join(filter(None, [description, collected.report()])),
    )


@dataclass(slots=True)
class _Collected:
    """Examples, newest first, with the executions they are from."""

    data: list[dict[str, Any]] = field(default_factory=list)
    sources: list[UUID] = field(default_factory=list)
    programs: set[str] = field(default_factory=set)
    corrected: int = 0
    duplicates: int = 0
    unclear: int = 0

    def report(self) -> str:
        size = len(self.data)
        said = [
            ngettext("Collected from %(n)d execution.", "Collected from %(n)d executions.", size) % {"n": size},
            _("%(n)d with an answer that people expected instead.") % {"n": self.corrected} if self.corrected else "",
            _("%(n)d duplicates left out.") % {"n": self.duplicates} if self.duplicates else "",
            _("%(n)d left out, whose expected value belongs to no output.") % {"n": self.unclear}
            if self.unclear
            else "",
        ]
        return " ".join(filter(None, said))


def _collected(rows: QuerySet[Execution], feedback_name: str) -> _Collected:
    collected, seen = _Collected(), set[str]()
    for execution in _with_expectations(rows, feedback_name):
        collected.programs.add(execution.program.name)
        if len(collected.programs) > 1:
            raise several_programs(", ".join(sorted(collected.programs)))
        expected = next((row.expected for row in execution.expectations), None)
        corrected = _corrected(execution.output, expected)
        if corrected is None:
            collected.unclear += 1
            continue
        data = {**execution.input, **corrected}
        digest = digest_of(data)
        if digest in seen:
            collected.duplicates += 1
            continue
        seen.add(digest)
        collected.corrected += expected is not None
        collected.data.append(data)
        collected.sources.append(execution.pk)
    return collected


def _corrected(output: Mapping[str, Any], expected: Any) -> Mapping[str, Any] | None:
    """The output as people expected it; None when nobody can tell which field they meant."""
    if expected is None:
        return output
    if isinstance(expected, Mapping) and expected and expected.keys() <= output.keys():
        return {**output, **expected}
    if len(output) == 1:
        return dict.fromkeys(output, expected)
    return None


def _with_expectations(rows: QuerySet[Execution], feedback_name: str) -> Iterator[Any]:
    """Executions with what people expected of them, newest first, read in batches of bounded memory."""
    said = Feedback.objects.filter(expected__isnull=False).order_by("-id")
    if feedback_name:
        said = said.filter(name=feedback_name)
    light = rows.select_related("program").only("input", "output", "program__name")
    return light.prefetch_related(Prefetch("feedback", said, to_attr="expectations")).iterator(chunk_size=BATCH)


def _of_program(rows: QuerySet[Execution], actor: User, program: Program | str | None) -> QuerySet[Execution]:
    if program is None:
        return rows
    if isinstance(program, Program):
        return rows.filter(program=program)
    if "@" in program or _is_id(program):
        return rows.filter(program=access_program(actor=actor, ref=program))
    newest = access_program(actor=actor, ref=f"{program}@latest")
    return rows.filter(program__name=newest.name)


def _is_id(reference: str) -> bool:
    try:
        UUID(reference)
    except ValueError:
        return False
    return True


def _rated(
    rows: QuerySet[Execution], feedback_name: str, min_score: float | None, max_score: float | None
) -> QuerySet[Execution]:
    if not feedback_name and min_score is None and max_score is None:
        return rows
    said = Feedback.objects.filter(execution=OuterRef("pk")).order_by("-id")
    if feedback_name:
        said = said.filter(name=feedback_name)
    rated: Any = rows.annotate(newest_score=Subquery(said.values("score")[:1])).filter(newest_score__isnull=False)
    if min_score is not None:
        rated = rated.filter(newest_score__gte=min_score)
    if max_score is not None:
        rated = rated.filter(newest_score__lte=max_score)
    found: QuerySet[Execution] = rated
    return found


def _check(feedback_name: str, min_score: float | None, max_score: float | None, limit: int) -> None:
    if "\x00" in feedback_name:
        raise invalid_collection("feedback_name", _("Contains a NUL character."))
    for name, score in (("min_score", min_score), ("max_score", max_score)):
        if score is not None and not (math.isfinite(score) and 0 <= score <= 1):
            raise invalid_collection(name, _("A number from 0 to 1."))
    if min_score is not None and max_score is not None and min_score > max_score:
        raise invalid_collection("max_score", _("Not below the lowest score."))
    if not 1 <= limit <= MAX_EXAMPLES:
        raise invalid_collection("limit", _("From 1 to %(most)d.") % {"most": MAX_EXAMPLES})
