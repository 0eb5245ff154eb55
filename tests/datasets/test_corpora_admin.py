"""Corpora and the statistics of datasets in the admin site."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from pytest_django import Settings

from datasets import services
from datasets.admin import statistics
from datasets.models import Corpus, Dataset, Import, Passage
from datasets.services.imports import work_imports
from datasets.types import PassageSpec
from mlops.models import LanguageModel, User
from tests.factories import make_language_model, make_price
from tests.provider import Provider, status

pytestmark = pytest.mark.django_db(transaction=True)

SUBMIT = {"_form_submitted": "true"}
"""What the dialog of a button sends."""

FORM = "/admin/datasets/corpus/import/"


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def browser(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def model(provider: Provider) -> LanguageModel:
    found = make_language_model(name="openai/vectors", kind="embedding", api_base=provider.base_url, max_retries=0)
    make_price(found)
    return found


@pytest.fixture
def dataset(erin: User) -> Dataset:
    examples = [{"message": f"<b>number</b> {number}", "intent": "ab"[number % 3 == 0]} for number in range(30)]
    services.create_dataset(actor=erin, name="triage", type="test", examples=examples[:3])
    return services.create_dataset(actor=erin, name="triage", type="training", examples=examples)


def upload(browser: Client, content: bytes = b"Cards. Money.", **fields: Any) -> Any:
    given = {"name": "support", "unit": "words", "file": SimpleUploadedFile("support.md", content), **fields}
    return browser.post(FORM, given)


def page_of(browser: Client, row: Any, query: str = "") -> str:
    answer = browser.get(f"/admin/datasets/{row._meta.model_name}/{row.pk}/change/{query}")
    assert answer.status_code == 200
    return str(answer.content.decode())


def test_a_file_is_uploaded_and_its_import_watched(browser: Client, model: LanguageModel) -> None:
    assert FORM in browser.get("/admin/datasets/corpus/").content.decode()
    assert model.name in browser.get(FORM).content.decode()
    answer = upload(browser, chunk_size="1", embedding_model=str(model.pk))
    job = Import.objects.get()
    assert answer.headers["Location"] == f"/admin/datasets/import/{job.pk}/change/"
    assert work_imports() == 1
    assert [passage.text for passage in Passage.objects.order_by("position")] == ["Cards.", "Money."]
    page = page_of(browser, job)
    assert "completed" in page.lower()
    assert "2 passages." in page
    assert "Embedded by openai/vectors: 8 tokens, $0.0000032." in page


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"name": "No name"}, "A name starts with a small letter"),
        ({"chunk_size": "5", "overlap": "7"}, "less than the size of a chunk"),
        ({"chunk_size": "many"}, "Enter a whole number"),
    ],
)
def test_what_is_wrong_stands_beside_its_field(browser: Client, fields: dict[str, Any], words: str) -> None:
    answer = upload(browser, **fields)
    assert (answer.status_code, words in answer.content.decode()) == (400, True)
    assert not Import.objects.exists()


def test_a_search_is_tried_on_the_page(browser: Client, erin: User) -> None:
    texts = [PassageSpec("Returns", "Thirty <b>days</b>."), PassageSpec("", "Nine to five.")]
    corpus = services.create_corpus(actor=erin, name="support", passages=texts)
    page = page_of(browser, corpus)
    assert "Try a search" in page
    assert "signet-found" not in page
    page = page_of(browser, corpus, "?try=days")
    assert "Thirty &lt;b&gt;days&lt;/b&gt;." in page
    assert "by meaning" not in page
    assert "Nothing was found." in page_of(browser, corpus, "?try=bananas")
    assert "The corpus has no vectors" in page_of(browser, corpus, "?try=days&by=vector")


def test_a_search_by_meaning_is_offered_where_there_are_vectors(
    browser: Client, model: LanguageModel, provider: Provider
) -> None:
    upload(browser, embedding_model=str(model.pk))
    work_imports()
    corpus = Corpus.objects.get()
    asked = len(provider.requests)
    assert "by meaning" in page_of(browser, corpus)
    assert len(provider.requests) == asked
    assert "Cards. Money." in page_of(browser, corpus, "?try=money&by=hybrid")
    assert len(provider.requests) == asked + 1
    provider.script(status(401))
    assert "The embedding model did not answer" in page_of(browser, corpus, "?try=money&by=vector")


def test_a_corpus_is_frozen(browser: Client, erin: User) -> None:
    corpus = services.create_corpus(actor=erin, name="support", passages=[PassageSpec("", "text")])
    browser.post(f"/admin/datasets/corpus/{corpus.pk}/freeze/", SUBMIT)
    assert Corpus.objects.get().frozen_at is not None


def test_statistics_and_overlap_stand_on_the_page(browser: Client, dataset: Dataset) -> None:
    page = page_of(browser, dataset)
    for words in ("30", "different values", "majority baseline 66.7 %", "triage/test@1", "sealed test set", "10.0 %"):
        assert words in page, words
    assert "signet-histogram" in page
    assert Dataset.objects.get(pk=dataset.pk).statistics["size"] == 30


def test_statistics_of_many_examples_are_worked_out_when_asked_for(
    browser: Client, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "AT_ONCE", 10)
    page = page_of(browser, dataset)
    assert "Work out the statistics" in page
    assert "majority baseline" not in page
    assert "majority baseline" in page_of(browser, dataset, "?statistics")
    assert "majority baseline" in page_of(browser, dataset)


def test_a_dataset_is_split_by_its_button(browser: Client, dataset: Dataset) -> None:
    given = {"training": "0.5", "validation": "0.5", "test": "0", "stratify_by": "intent", "seed": "1", "name": "parts"}
    answer = browser.post(f"/admin/datasets/dataset/{dataset.pk}/split/", {**SUBMIT, **given})
    assert answer.headers["Location"] == "/admin/datasets/dataset/?q=parts"
    assert sorted(str(row) for row in Dataset.objects.filter(name="parts")) == [
        "parts/training@1",
        "parts/validation@1",
    ]


def test_a_split_that_is_refused_says_why(browser: Client, dataset: Dataset) -> None:
    given = {"training": "0.5", "validation": "0.1", "test": "0.1", "seed": "1"}
    answer = browser.post(f"/admin/datasets/dataset/{dataset.pk}/split/", {**SUBMIT, **given}, follow=True)
    assert "The fractions of the parts are wrong." in answer.content.decode()
    answer = browser.post(
        f"/admin/datasets/dataset/{dataset.pk}/split/", {**SUBMIT, **given, "training": "0.8", "stratify_by": "nothing"}
    )
    assert "No example has a field nothing." in answer.content.decode()
    assert Dataset.objects.count() == 2


def test_an_ml_user_is_not_let_in(alice: User, dataset: Dataset) -> None:
    client = Client()
    client.force_login(alice)
    assert client.get(FORM).status_code == 302
    assert client.get(f"/admin/datasets/dataset/{dataset.pk}/change/").status_code == 302
