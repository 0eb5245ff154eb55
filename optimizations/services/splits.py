"""A compile without a validation set gets one: a seeded part of its training set, split off once and used again."""

from __future__ import annotations

from dataclasses import dataclass

from datasets.errors import too_few_examples
from datasets.models import Dataset, Example
from datasets.runtime.splitting import Item, split
from datasets.services.splitting import split_dataset
from datasets.types import DatasetType, digest_of_all
from mlops.models import User

SHARES = {DatasetType.TRAINING.value: 0.8, DatasetType.VALIDATION.value: 0.2}
_SUFFIX = "-parts"
_MAX_NAME = 63


@dataclass(frozen=True, slots=True)
class Parts:
    """What a training set splits into: sizes, and the hashes of the contents of both parts."""

    whole: Dataset
    seed: int
    training_size: int
    validation_size: int
    training_hash: str
    validation_hash: str

    @property
    def name(self) -> str:
        """The name of the parts: another one than the whole's, whose newest version stays what it was."""
        return f"{self.whole.name[: _MAX_NAME - len(_SUFFIX)]}{_SUFFIX}"


def parts_of(dataset: Dataset, seed: int) -> Parts:
    """How `dataset` would be split. Stores nothing. Raises `Invalid` (`too_few_examples`)."""
    contents = Example.objects.filter(dataset=dataset).order_by("position").values_list("content_hash", flat=True)
    found = split((Item(content, content) for content in contents.iterator()), SHARES, seed)
    training, validation = (found[name] for name in SHARES)
    if not training or not validation:
        raise too_few_examples(DatasetType.TRAINING if not training else DatasetType.VALIDATION)
    return Parts(dataset, seed, len(training), len(validation), digest_of_all(training), digest_of_all(validation))


def split_off(parts: Parts, *, actor: User) -> tuple[Dataset, Dataset]:
    """The training and the validation part as datasets: those of an earlier compile if there are any."""
    training = _stored(parts.name, DatasetType.TRAINING, parts.training_hash)
    validation = _stored(parts.name, DatasetType.VALIDATION, parts.validation_hash)
    if training is not None and validation is not None:
        return training, validation
    made = split_dataset(actor=actor, dataset=parts.whole, fractions=SHARES, seed=parts.seed, name=parts.name)
    by_type = {part.type: part for part in made}
    return by_type[DatasetType.TRAINING], by_type[DatasetType.VALIDATION]


def _stored(name: str, type: DatasetType, content_hash: str) -> Dataset | None:
    rows = Dataset.objects.ready().filter(name=name, type=type.value, content_hash=content_hash)
    found: Dataset | None = rows.order_by("-version").first()
    return found
