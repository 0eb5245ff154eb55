"""Cutting a dataset into training, validation and test parts."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets import errors
from datasets.models import Dataset, Example
from datasets.policies import dataset_policy
from datasets.runtime.splitting import Item, split, stratum_of
from datasets.services.statistics import refuse_unfinished
from datasets.services.versions import BATCH, check_name, save_as_next_version
from datasets.types import DatasetType, digest_of_all
from mlops.errors import Invalid, Problem
from mlops.models import User
from mlops.models.base import new_id
from mlops.services.locking import locked
from mlops.verbs import verb

MAX_SEED = 2**32 - 1

EXAMPLES = Example._meta.db_table
COPY = f"""
    INSERT INTO {EXAMPLES} (id, dataset_id, position, created_at, data, content_hash, source_kind, source_id)
    SELECT %s, %s, %s, %s, data, content_hash, 'example', id FROM {EXAMPLES} WHERE id = %s
"""  # noqa: S608  # only the name of the table is put in


@verb(dataset_policy, "create")
def split_dataset(
    *,
    actor: User,
    dataset: Dataset,
    fractions: Mapping[str, float],
    seed: int = 0,
    stratify_by: str = "",
    name: str = "",
) -> list[Dataset]:
    """The parts of `dataset` as next versions of `name` (its own name), one per type that `fractions` names.

    `fractions` adds up to 1. The same content and seed give the same parts, in whatever order the examples stand;
    `stratify_by` keeps the distribution of a field; equal examples stay together. Examples know the one they come
    from. Raises `Forbidden`, `Invalid` (`fractions_invalid`, `seed_invalid`, `name_invalid`, `unknown_field`,
    `too_few_examples`) and `Conflict` (`dataset_sealed`, `dataset_importing`, `dataset_changed`,
    `version_taken`).
    """
    dataset_policy.check(actor, "create")
    dataset_policy.check(actor, "view", dataset)
    refuse_unfinished(dataset)
    check_name(name or dataset.name)
    shares = _checked_fractions(fractions)
    _check_seed(seed)
    if dataset.type == DatasetType.TEST and DatasetType.TRAINING in shares:
        raise errors.dataset_sealed()
    parts = split(_items(dataset, stratify_by), shares, seed)
    if empty := [type_ for type_, rows in parts.items() if not rows]:
        raise errors.too_few_examples(empty[0])
    with transaction.atomic():
        if locked(dataset).content_hash != dataset.content_hash:
            raise errors.dataset_changed()
        return [
            _stored(_part_of(dataset, name or dataset.name, type_, seed), rows, actor) for type_, rows in parts.items()
        ]


def _items(dataset: Dataset, stratify_by: str) -> Iterator[Item[tuple[UUID, str]]]:
    rows = Example.objects.filter(dataset=dataset).order_by("position")
    if not stratify_by:
        for key, content in rows.values_list("pk", "content_hash").iterator(BATCH):
            yield Item((key, content), content)
        return
    seen = False
    for key, content, data in rows.values_list("pk", "content_hash", "data").iterator(BATCH):
        seen = seen or stratify_by in data
        yield Item((key, content), content, stratum_of(data, stratify_by))
    if not seen:
        raise errors.unknown_field(stratify_by, "stratify_by")


def _part_of(whole: Dataset, name: str, type_: str, seed: int) -> Dataset:
    description = _("Split from %(whole)s with seed %(seed)s.") % {"whole": whole, "seed": seed}
    return Dataset(name=name, type=type_, description=description, schema=whole.schema)


def _stored(part: Dataset, rows: Sequence[tuple[UUID, str]], actor: User) -> Dataset:
    part.size = len(rows)
    part.content_hash = digest_of_all(content for _key, content in rows)
    save_as_next_version(part, actor, "split_dataset", name=part.name, type=part.type)
    if _copied(part, [key for key, _content in rows]) != part.size:
        raise errors.dataset_changed()
    return part


def _copied(part: Dataset, originals: Sequence[UUID]) -> int:
    """Copy these examples into `part`, in their order; how many were still there.

    The database copies them: to read and write each one here would keep a request, and on SQLite every other writer,
    waiting for a minute at 100,000 examples.
    """
    key_of = Example._meta.pk.get_db_prep_value
    part_key = key_of(part.pk, connection)
    now = Example._meta.get_field("created_at").get_db_prep_value(timezone.now(), connection)
    copies = [
        (key_of(new_id(), connection), part_key, position, now, key_of(key, connection))
        for position, key in enumerate(originals)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(COPY, copies)
        return int(cursor.rowcount)


def _checked_fractions(fractions: Mapping[str, Any]) -> dict[str, float]:
    """The fractions in the order of the types. Raises `Invalid` (`fractions_invalid`)."""
    problems = [problem for type_, share in fractions.items() if (problem := _problem_of(type_, share))]
    if not problems and len(fractions) < 2:
        problems = [Problem("too_few_parts", _("At least two parts are needed."), "fractions")]
    if not problems and not math.isclose(math.fsum(fractions.values()), 1, abs_tol=1e-6):
        problems = [Problem("not_one", _("The fractions have to add up to 1."), "fractions")]
    if problems:
        raise errors.fractions_invalid(problems)
    return {type_.value: float(fractions[type_]) for type_ in DatasetType if type_ in fractions}


def _problem_of(type_: str, share: Any) -> Problem | None:
    field = f"fractions.{type_}"
    if type_ not in list(DatasetType):
        return Problem("dataset_type_unknown", _("The type is training, validation or test."), field)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        return Problem("out_of_range", _("A fraction is a number between 0 and 1."), field)
    return None


def _check_seed(seed: int) -> None:
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed <= MAX_SEED:
        raise Invalid("seed_invalid", _("A seed is a whole number from 0 to 4294967295."), field="seed")
