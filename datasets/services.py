"""The verbs of datasets and corpora: the only code that writes their rows."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from django.db import IntegrityError, transaction
from django.db.models import ProtectedError
from django.utils import timezone
from django.utils.translation import gettext as _

from datasets import errors
from datasets.models import Corpus, Dataset, Example, Passage
from datasets.policies import corpus_policy, dataset_policy
from datasets.types import MAX_EXAMPLES, MAX_PASSAGES, NAME_PATTERN, DatasetType, PassageSpec, digest_of, digest_of_all
from mlops.errors import Conflict, Problem
from mlops.models import User
from mlops.sanitiser import problem_in, refuse_unstorable
from mlops.services.history import save_with_history, saved_or_none

BATCH = 1000
MAX_TITLE = 300

Versioned = TypeVar("Versioned", Dataset, Corpus)


def create_dataset(
    *,
    actor: User,
    name: str,
    type: DatasetType | str,
    examples: Sequence[Mapping[str, Any]],
    description: str = "",
    schema: Mapping[str, Any] | None = None,
    source_kind: str = "",
) -> Dataset:
    """The next version of the dataset `name` of that type, with its examples, in one transaction.

    Raises `Forbidden`, `Invalid` (`name_invalid`, `dataset_type_unknown`, `empty`, `too_many`, `dataset_invalid` with
    one problem per broken example) and `Conflict` (`version_taken`).
    """
    dataset_policy.check(actor, "create")
    _check_name(name)
    _check_type(type)
    _check_examples(examples)
    refuse_unstorable(description, "description")
    refuse_unstorable(dict(schema or {}), "schema")
    digests = [digest_of(data) for data in examples]
    dataset = Dataset(
        name=name,
        type=DatasetType(type).value,
        description=description,
        schema=dict(schema or {}),
        size=len(examples),
        content_hash=digest_of_all(digests),
        statistics=statistics_of(examples, digests),
    )
    rows = (
        Example(dataset=dataset, position=position, data=dict(data), content_hash=digest, source_kind=source_kind)
        for position, (data, digest) in enumerate(zip(examples, digests, strict=True))
    )
    with transaction.atomic():
        _save_as_next_version(dataset, actor, "create_dataset", name=name, type=dataset.type)
        Example.objects.bulk_create(rows, batch_size=BATCH)
    return dataset


def create_corpus(*, actor: User, name: str, passages: Sequence[PassageSpec], description: str = "") -> Corpus:
    """The next version of the corpus `name`, with its passages, in one transaction.

    Raises `Forbidden`, `Invalid` (`name_invalid`, `empty`, `too_many`, `corpus_invalid` with one problem per broken
    passage) and `Conflict` (`version_taken`).
    """
    corpus_policy.check(actor, "create")
    _check_name(name)
    _check_passages(passages)
    refuse_unstorable(description, "description")
    corpus = Corpus(
        name=name,
        description=description,
        size=len(passages),
        content_hash=digest_of_all(digest_of([passage.title, passage.text]) for passage in passages),
    )
    rows = (
        Passage(corpus=corpus, position=position, title=passage.title, text=passage.text)
        for position, passage in enumerate(passages)
    )
    with transaction.atomic():
        _save_as_next_version(corpus, actor, "create_corpus", name=name)
        Passage.objects.bulk_create(rows, batch_size=BATCH)
    return corpus


def freeze_dataset(*, actor: User, dataset: Dataset) -> Dataset:
    """Something uses the dataset from now on, so it stays. Repeating is harmless. Raises `Forbidden`."""
    dataset_policy.check(actor, "freeze", dataset)
    return _frozen(dataset, actor, "freeze_dataset")


def freeze_corpus(*, actor: User, corpus: Corpus) -> Corpus:
    """Something uses the corpus from now on, so it stays. Repeating is harmless. Raises `Forbidden`."""
    corpus_policy.check(actor, "freeze", corpus)
    return _frozen(corpus, actor, "freeze_corpus")


def delete_dataset(*, actor: User, dataset: Dataset) -> None:
    """Remove an unused dataset. Raises `Forbidden` and `Conflict` (`dataset_in_use`)."""
    dataset_policy.check(actor, "delete", dataset)
    _delete_unused(dataset, actor, "delete_dataset", errors.dataset_in_use())


def delete_corpus(*, actor: User, corpus: Corpus) -> None:
    """Remove an unused corpus. Raises `Forbidden` and `Conflict` (`corpus_in_use`)."""
    corpus_policy.check(actor, "delete", corpus)
    _delete_unused(corpus, actor, "delete_corpus", errors.corpus_in_use())


def statistics_of(examples: Sequence[Mapping[str, Any]], digests: Sequence[str]) -> dict[str, Any]:
    """What a list shows of a dataset: duplicates, and per field how often it is there and how many values it has."""
    present: Counter[str] = Counter(key for data in examples for key in data)
    values = {key: {digest_of(data[key]) for data in examples if key in data} for key in present}
    return {
        "duplicates": len(digests) - len(set(digests)),
        "fields": {key: {"count": present[key], "distinct": len(values[key])} for key in sorted(present)},
    }


def _save_as_next_version(row: Dataset | Corpus, actor: User, verb: str, **identity: str) -> None:
    row.version = type(row).objects.next_version(**identity)
    try:
        with transaction.atomic():
            save_with_history(row, actor=actor, reason=verb)
    except IntegrityError:
        raise errors.version_taken() from None


def _frozen(row: Versioned, actor: User, verb: str) -> Versioned:
    with transaction.atomic():
        locked: Versioned = type(row).objects.select_for_update().get(pk=row.pk)
        if locked.frozen_at is None:
            locked.frozen_at = timezone.now()
            save_with_history(locked, actor=actor, reason=verb, update_fields=["frozen_at"])
    return locked


def _delete_unused(row: Dataset | Corpus, actor: User, verb: str, refusal: Conflict) -> None:
    with transaction.atomic():
        locked = type(row).objects.select_for_update().get(pk=row.pk)
        if locked.frozen_at is not None:
            raise refusal
        vars(locked).update(_history_user=saved_or_none(actor), _change_reason=verb)
        try:
            locked.delete()
        except ProtectedError:
            raise refusal from None


def _check_name(name: str) -> None:
    if not re.fullmatch(NAME_PATTERN, name):
        raise errors.name_invalid()


def _check_type(value: str) -> None:
    if value not in list(DatasetType):
        raise errors.unknown_type()


def _check_size(size: int, limit: int, field: str) -> None:
    if size == 0:
        raise errors.empty(field)
    if size > limit:
        raise errors.too_many(field, limit)


def _check_examples(examples: Sequence[Mapping[str, Any]]) -> None:
    _check_size(len(examples), MAX_EXAMPLES, "examples")
    found = (_problem_in_example(data, f"examples.{position}") for position, data in enumerate(examples))
    if problems := [problem for problem in found if problem]:
        raise errors.invalid_examples(problems)


def _problem_in_example(data: Any, path: str) -> Problem | None:
    if not isinstance(data, Mapping) or not data:
        return Problem("not_an_object", _("An example is an object with at least one field."), path)
    return problem_in(dict(data), path)


def _check_passages(passages: Sequence[PassageSpec]) -> None:
    _check_size(len(passages), MAX_PASSAGES, "passages")
    found = (_problem_in_passage(passage, f"passages.{position}") for position, passage in enumerate(passages))
    if problems := [problem for problem in found if problem]:
        raise errors.invalid_passages(problems)


def _problem_in_passage(passage: PassageSpec, path: str) -> Problem | None:
    if not passage.text.strip():
        return Problem("blank", _("A passage has a text."), f"{path}.text")
    if len(passage.title) > MAX_TITLE:
        message = _("A title has at most %(limit)s characters.") % {"limit": MAX_TITLE}
        return Problem("too_long", message, f"{path}.title")
    return problem_in(passage.title, f"{path}.title") or problem_in(passage.text, f"{path}.text")
