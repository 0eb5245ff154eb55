"""Datasets, corpora and imports."""

from __future__ import annotations

from django.core.files.base import ContentFile

from datasets.models import Corpus, Dataset, Import
from datasets.services import create_corpus, create_dataset, import_dataset
from datasets.types import PassageSpec
from tests.policies.case import Case, case
from tests.policies.people import World

EXAMPLES = [{"message": f"case {number}", "intent": "card" if number % 2 else "login"} for number in range(6)]


def file(name: str = "cases.csv", text: str = "message,intent\nlost,card\n") -> ContentFile[bytes]:
    return ContentFile(text.encode(), name=name)


def dataset(world: World) -> Dataset:
    return create_dataset(actor=world.admin, name="cases", type="training", examples=EXAMPLES)


def corpus(world: World) -> Corpus:
    return create_corpus(actor=world.admin, name="manual", passages=[PassageSpec("Cards", "A lost card is blocked.")])


@case("create_dataset")
def new_dataset(world: World) -> Case:
    common = {"name": "new", "type": "training"}
    return Case({**common, "examples": EXAMPLES}, body={**common, "data": EXAMPLES})


@case("update_dataset")
def update_dataset(world: World) -> Case:
    row, changes = dataset(world), {"description": "changed"}
    return Case({"dataset": row, **changes}, row, body=changes)


@case("freeze_dataset")
def freeze_dataset(world: World) -> Case:
    row = dataset(world)
    return Case({"dataset": row}, row)


@case("delete_dataset")
def delete_dataset(world: World) -> Case:
    row = dataset(world)
    return Case({"dataset": row}, row)


@case("import_dataset")
def start_import(world: World) -> Case:
    given = {"name": "new", "type": "training", "file": file()}
    return Case(given, body=given, form={**given, "duplicates": "keep"})


@case("cancel_import")
def cancel_import(world: World) -> Case:
    job: Import = import_dataset(actor=world.admin, name="new", type="training", file=file())
    return Case({"job": job}, job)


@case("split_dataset")
def split_dataset(world: World) -> Case:
    row, fractions = dataset(world), {"training": 0.5, "test": 0.5}
    form = {"training": "0.5", "validation": "0", "test": "0.5", "seed": "0"}
    return Case({"dataset": row, "fractions": fractions}, row, body={"fractions": fractions}, form=form)


@case("compute_statistics")
def compute_statistics(world: World) -> Case:
    row = dataset(world)
    return Case({"dataset": row}, row)


@case("overlap")
def overlap(world: World) -> Case:
    row = dataset(world)
    return Case({"dataset": row}, row)


@case("create_corpus")
def new_corpus(world: World) -> Case:
    body = {"name": "new", "passages": [{"title": "Cards", "text": "A lost card is blocked."}]}
    return Case({"name": "new", "passages": [PassageSpec("Cards", "A lost card is blocked.")]}, body=body)


@case("import_corpus")
def import_corpus(world: World) -> Case:
    given = {"name": "new", "file": file("manual.txt", "A lost card is blocked.")}
    return Case(given, body=given, form={**given, "unit": "words"})


@case("search_passages")
def search_passages(world: World) -> Case:
    row = corpus(world)
    return Case({"corpus": row, "query": "card"}, row, query={"q": "card"})


@case("freeze_corpus")
def freeze_corpus(world: World) -> Case:
    row = corpus(world)
    return Case({"corpus": row}, row)


@case("delete_corpus")
def delete_corpus(world: World) -> Case:
    row = corpus(world)
    return Case({"corpus": row}, row)
