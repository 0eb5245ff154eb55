"""What a dataset is like, and what it has in common with others."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any
from uuid import UUID

from django.db.models import Count, QuerySet

from datasets import errors
from datasets.models import Dataset, Example
from datasets.policies import dataset_policy
from datasets.runtime.statistics import Statistics
from datasets.services.versions import BATCH
from datasets.types import DatasetType, Overlap, VersionState, digest_of
from mlops.models import User
from mlops.verbs import verb

EDITION = 1
"""Moves when the calculation changes, so that what an older one has stored is not believed."""


@verb(dataset_policy, "view")
def compute_statistics(*, actor: User, dataset: Dataset) -> dict[str, Any]:
    """Size, duplicates, and per field types, missing and different values, distributions, labels and their majority.

    Worked out when first asked for, in one pass, and kept with the dataset until its content changes. Raises
    `Forbidden` and `Conflict` (`dataset_importing`).
    """
    dataset_policy.check(actor, "view", dataset)
    refuse_unfinished(dataset)
    if is_computed(dataset):
        kept: dict[str, Any] = dataset.statistics
        return kept
    statistics = Statistics()
    rows = Example.objects.filter(dataset=dataset).values_list("data", "content_hash")
    for data, content_hash in rows.order_by("position").iterator(BATCH):
        statistics.add(data, content_hash)
    found = {"content_hash": dataset.content_hash, "edition": EDITION, **statistics.as_json()}
    # Calculated, so neither history nor `updated_at` hears of it; of content that changed meanwhile it says nothing.
    Dataset.objects.filter(pk=dataset.pk, content_hash=dataset.content_hash).update(statistics=found)
    dataset.statistics = found
    return found


def is_computed(dataset: Dataset) -> bool:
    """Whether the kept statistics are those of the present content."""
    kept = dataset.statistics
    return (kept.get("content_hash"), kept.get("edition")) == (dataset.content_hash, EDITION)


@verb(dataset_policy, "view")
def overlap(
    *, actor: User, dataset: Dataset, others: Sequence[Dataset] | None = None, fields: Sequence[str] = ()
) -> list[Overlap]:
    """Which datasets share examples with `dataset`, those that share most first; none that shares nothing.

    `others`: look among these only, without them among all. With `fields` (the inputs of a program) examples count as
    the same when these fields agree, whatever the others say; that needs `others`. Raises `Forbidden`, `Conflict`
    (`dataset_importing`) and `Invalid` (`required`, `unknown_field`).
    """
    dataset_policy.check(actor, "view", dataset)
    refuse_unfinished(dataset)
    visible = Dataset.objects.visible_to(actor).ready().exclude(pk=dataset.pk)
    if others is not None:
        visible = visible.filter(pk__in=[other.pk for other in others])
    elif fields:
        raise errors.overlap_needs_others()
    if fields:
        size, shared = _shared_fields(dataset, visible, sorted(set(fields)))
    else:
        size, shared = _shared_examples(dataset, visible)
    found = {row.pk: row for row in visible.filter(pk__in=shared)}
    rows = [_overlap(found[key], count, size) for key, count in shared.items() if count]
    return sorted(rows, key=lambda row: (-row.shared, row.name, row.type, -row.version))


def refuse_unfinished(dataset: Dataset) -> None:
    """Raise `Conflict` (`dataset_importing`) as long as not all of it is there."""
    if dataset.state != VersionState.READY:
        raise errors.dataset_importing()


def _shared_examples(dataset: Dataset, others: QuerySet[Any]) -> tuple[int, dict[UUID, int]]:
    """How many different examples there are, and how many of them each other dataset has: by the index of contents."""
    contents = Example.objects.filter(dataset=dataset).values("content_hash")
    rows = Example.objects.filter(content_hash__in=contents, dataset__in=others).order_by().values("dataset")
    counted = rows.annotate(shared=Count("content_hash", distinct=True)).values_list("dataset", "shared")
    return contents.distinct().count(), dict(counted)


def _shared_fields(dataset: Dataset, others: QuerySet[Any], fields: list[str]) -> tuple[int, dict[UUID, int]]:
    own = set(_digests(dataset, fields))
    return len(own), {other.pk: len(own.intersection(_digests(other, fields))) for other in others}


def _digests(dataset: Dataset, fields: list[str]) -> Iterator[bytes]:
    """What each example says in `fields`. Raises `Invalid` (`unknown_field`) for one that no example has."""
    unseen = set(fields)
    rows = Example.objects.filter(dataset=dataset).values_list("data", flat=True)
    for data in rows.iterator(BATCH):
        unseen.difference_update(data)
        yield bytes.fromhex(digest_of([data.get(field) for field in fields]))
    if unseen:
        raise errors.unknown_field(min(unseen), "fields")


def _overlap(other: Dataset, shared: int, size: int) -> Overlap:
    return Overlap(
        dataset_id=other.pk,
        name=other.name,
        type=other.type,
        version=other.version,
        size=other.size,
        sealed=other.type == DatasetType.TEST,
        shared=shared,
        share=shared / size,
    )
