"""The verbs of datasets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any
from uuid import UUID

from django.db import transaction
from django.utils.translation import gettext as _

from datasets import errors
from datasets.models import Dataset, Example
from datasets.policies import dataset_policy
from datasets.runtime.reading import Inference, problem_in_schema, problems_in_example, validator_of
from datasets.services.versions import BATCH, check_name, check_size, delete_unused, frozen, save_as_next_version
from datasets.types import MAX_EXAMPLES, DatasetType, VersionState, digest_of, digest_of_all
from mlops.errors import Problem
from mlops.models import User
from mlops.sanitiser import problem_in, refuse_unstorable
from mlops.services.history import save_with_history
from mlops.services.locking import locked
from mlops.services.reverting import revertible
from mlops.verbs import verb

MAX_PROBLEMS = 1_000
"""Broken examples that one refusal names."""


@verb(dataset_policy, "create")
def create_dataset(
    *,
    actor: User,
    name: str,
    type: DatasetType | str,
    examples: Sequence[Mapping[str, Any]],
    description: str = "",
    schema: Mapping[str, Any] | None = None,
    source_kind: str = "",
    source_ids: Sequence[UUID] = (),
) -> Dataset:
    """The next version of the dataset `name` of that type, with its examples, in one transaction.

    `source_kind` and `source_ids`, one for each example, name the rows that the examples were made from.

    Without a `schema` the dataset gets the one that its examples fulfil. Raises `Forbidden`, `Invalid`
    (`name_invalid`, `dataset_type_unknown`, `empty`, `too_many`, `schema_invalid`, `dataset_invalid` with one problem
    per broken example) and `Conflict` (`version_taken`).
    """
    dataset_policy.check(actor, "create")
    check_name(name)
    check_type(type)
    refuse_unstorable(description, "description")
    _check_schema(schema)
    _check_examples(examples, schema)
    dataset = Dataset(name=name, type=DatasetType(type).value, description=description)
    rows = _rows(dataset, examples, source_kind)
    for row, source_id in zip(rows, source_ids, strict=bool(source_ids)):
        row.source_id = source_id
    _describe(dataset, examples, rows, schema)
    with transaction.atomic():
        save_as_next_version(dataset, actor, "create_dataset", name=name, type=dataset.type)
        Example.objects.bulk_create(rows, batch_size=BATCH)
    return dataset


@verb(dataset_policy, "change")
def update_dataset(
    *,
    actor: User,
    dataset: Dataset,
    description: str | None = None,
    schema: Mapping[str, Any] | None = None,
    examples: Sequence[Mapping[str, Any]] | None = None,
) -> Dataset:
    """Change what is given: the description at any time; schema and examples, all of them, while nothing uses them.

    Examples are checked before the lock is taken, since that may take seconds. Raises `Forbidden`, `Invalid` as
    `create_dataset` does, and `Conflict` (`dataset_frozen`, `dataset_importing`, `dataset_changed`).
    """
    dataset_policy.check(actor, "change", dataset)
    refuse_unstorable(description, "description")
    _check_schema(schema)
    changes_content = not (schema is None and examples is None)
    _refuse_unchangeable(dataset, changes_content)
    if examples is not None:
        _check_examples(examples, schema)
    elif schema is not None:
        _check_stored_examples(dataset, schema)
    with transaction.atomic():
        row = locked(dataset)
        _refuse_unchangeable(row, changes_content)
        if description is not None:
            row.description = description
        if examples is not None:
            _replace_examples(row, examples, schema)
        elif schema is not None:
            if row.content_hash != dataset.content_hash:
                raise errors.dataset_changed()
            row.schema = dict(schema)
        return save_with_history(row, actor=actor, reason="update_dataset")


@verb(dataset_policy, "freeze")
def freeze_dataset(*, actor: User, dataset: Dataset) -> Dataset:
    """Something uses the dataset as it was read from now on, so it stays. Repeating is harmless.

    Raises `Forbidden` and `Conflict` (`dataset_importing`; `dataset_changed` when it has other examples by now).
    """
    dataset_policy.check(actor, "freeze", dataset)
    _refuse_importing(dataset)
    with transaction.atomic():
        if locked(dataset).content_hash != dataset.content_hash:
            raise errors.dataset_changed()
        return frozen(dataset, actor, "freeze_dataset")


@verb(dataset_policy, "delete")
def delete_dataset(*, actor: User, dataset: Dataset) -> None:
    """Remove an unused dataset. Raises `Forbidden` and `Conflict` (`dataset_in_use`, `dataset_importing`)."""
    dataset_policy.check(actor, "delete", dataset)
    _refuse_importing(dataset)
    delete_unused(dataset, actor, "delete_dataset", errors.dataset_in_use())


def check_type(value: str) -> None:
    """Raise `Invalid` (`dataset_type_unknown`)."""
    if value not in list(DatasetType):
        raise errors.unknown_type()


def _rows(dataset: Dataset, examples: Sequence[Mapping[str, Any]], source_kind: str = "") -> list[Example]:
    return [
        Example(
            dataset=dataset, position=position, data=dict(data), content_hash=digest_of(data), source_kind=source_kind
        )
        for position, data in enumerate(examples)
    ]


def _describe(
    dataset: Dataset, examples: Sequence[Mapping[str, Any]], rows: Sequence[Example], schema: Mapping[str, Any] | None
) -> None:
    """Set what follows from the examples."""
    dataset.schema = _schema_of(examples) if schema is None else dict(schema)
    dataset.size = len(rows)
    dataset.content_hash = digest_of_all(row.content_hash for row in rows)
    dataset.statistics = {}  # worked out when somebody asks


def _schema_of(examples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    inference = Inference(is_text=False, declared={})
    for data in examples:
        inference.add(data)
    return inference.schema()


def _replace_examples(
    dataset: Dataset, examples: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None
) -> None:
    rows = _rows(dataset, examples)
    _describe(dataset, examples, rows, schema)
    dataset.examples.all().delete()
    Example.objects.bulk_create(rows, batch_size=BATCH)


def _refuse_unchangeable(dataset: Dataset, changes_content: bool) -> None:
    _refuse_importing(dataset)
    if changes_content and dataset.frozen_at is not None:
        raise errors.dataset_frozen()


def _refuse_importing(dataset: Dataset) -> None:
    if dataset.state == VersionState.IMPORTING:
        raise errors.dataset_importing()


def _check_schema(schema: Mapping[str, Any] | None) -> None:
    refuse_unstorable(dict(schema or {}), "schema")
    if reason := problem_in_schema(schema or {}):
        raise errors.schema_invalid(reason)


def _check_examples(examples: Sequence[Mapping[str, Any]], schema: Mapping[str, Any] | None) -> None:
    check_size(len(examples), MAX_EXAMPLES, "examples")
    _refuse_broken(enumerate(examples), schema)


def _check_stored_examples(dataset: Dataset, schema: Mapping[str, Any]) -> None:
    rows = dataset.examples.order_by("position").values_list("position", "data")
    _refuse_broken(rows.iterator(chunk_size=BATCH), schema)


def _refuse_broken(examples: Iterable[tuple[int, Any]], schema: Mapping[str, Any] | None) -> None:
    """Raise `Invalid` (`dataset_invalid`) with the first problems, each with the path of its example."""
    validator = validator_of(schema) if schema else None
    found = (problem for position, data in examples for problem in _problems_in(data, validator, position))
    if problems := list(islice(found, MAX_PROBLEMS)):
        raise errors.invalid_examples(problems)


def _problems_in(data: Any, validator: Any, position: int) -> Iterator[Problem]:
    path = f"examples.{position}"
    if not isinstance(data, Mapping) or not data:
        yield Problem("not_an_object", _("An example is an object with at least one field."), path)
    elif problem := problem_in(dict(data), path):
        yield problem
    elif validator is not None:
        for field, code, message in problems_in_example(validator, data):
            yield Problem(code, message, f"{path}.{field}" if field else path)


revertible(
    Dataset,
    ("description", "schema"),
    lambda actor, row, changes: update_dataset(actor=actor, dataset=row, **changes),
)
