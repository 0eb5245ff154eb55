"""Datasets and corpora in the admin site."""

from __future__ import annotations

import pytest
from django.test import Client

from datasets import services
from datasets.models import Corpus, Dataset
from datasets.types import PassageSpec
from mlops.models import User


@pytest.fixture
def browser(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


@pytest.fixture
def dataset(erin: User) -> Dataset:
    examples = [{"message": f"<script>alert({number})</script>"} for number in range(30)]
    return services.create_dataset(actor=erin, name="triage", type="test", examples=examples)


@pytest.fixture
def corpus(erin: User) -> Corpus:
    passages = [PassageSpec(f"Title {number}", "text " * 100) for number in range(30)]
    return services.create_corpus(actor=erin, name="support", passages=passages)


@pytest.mark.parametrize("model", ["dataset", "corpus", "example", "passage"])
def test_lists_open(browser: Client, dataset: Dataset, corpus: Corpus, model: str) -> None:
    assert browser.get(f"/admin/datasets/{model}/").status_code == 200


def test_a_page_shows_the_first_examples_escaped(browser: Client, dataset: Dataset) -> None:
    page = browser.get(f"/admin/datasets/dataset/{dataset.pk}/change/").content.decode()
    assert "&lt;script&gt;alert(0)" in page
    assert "<script>alert(" not in page
    assert "alert(29)" not in page


def test_a_page_shows_the_first_passages_and_cuts_them(browser: Client, corpus: Corpus) -> None:
    page = browser.get(f"/admin/datasets/corpus/{corpus.pk}/change/").content.decode()
    assert "Title 0" in page
    assert "Title 29" not in page
    assert "text " * 100 not in page


def test_an_unused_dataset_is_deleted_through_the_service(browser: Client, dataset: Dataset) -> None:
    browser.post(f"/admin/datasets/dataset/{dataset.pk}/delete/", {"post": "yes"})
    assert not Dataset.objects.exists()
    assert Dataset.history.first().history_change_reason == "delete_dataset"


def test_a_used_dataset_stays_and_the_page_says_why(browser: Client, erin: User, dataset: Dataset) -> None:
    services.freeze_dataset(actor=erin, dataset=dataset)
    answer = browser.post(f"/admin/datasets/dataset/{dataset.pk}/delete/", {"post": "yes"}, follow=True)
    assert "The dataset is in use" in answer.content.decode()
    assert Dataset.objects.count() == 1


def test_nothing_is_edited_on_the_page(browser: Client, dataset: Dataset) -> None:
    browser.post(f"/admin/datasets/dataset/{dataset.pk}/change/", {"name": "other"})
    assert Dataset.objects.get().name == "triage"
    assert browser.get("/admin/datasets/dataset/add/").status_code == 403


def test_an_ml_user_is_not_let_in(charlie: User, dataset: Dataset) -> None:
    client = Client()
    client.force_login(charlie)
    assert client.get(f"/admin/datasets/dataset/{dataset.pk}/change/").status_code == 302
