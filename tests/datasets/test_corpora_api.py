"""Corpora over REST: written, imported, searched, frozen and deleted."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from pytest_django import Settings
from rest_framework.test import APIClient

from datasets.models import Corpus, Import, Passage
from datasets.services.imports import work_imports
from mlops.models import LanguageModel, User
from tests.conftest import api_of
from tests.factories import make_language_model, make_price
from tests.provider import Provider

pytestmark = pytest.mark.django_db(transaction=True)

API = "/api/v1/corpora/"
PASSAGES = [{"title": "Returns", "text": "Thirty days."}, {"text": "Nine to five."}]


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def model(provider: Provider) -> LanguageModel:
    found = make_language_model(name="openai/vectors", kind="embedding", api_base=provider.base_url)
    make_price(found)
    return found


def upload(api: APIClient, content: bytes, file_name: str = "support.txt", **fields: Any) -> Any:
    given = {"name": "support", "file": SimpleUploadedFile(file_name, content), **fields}
    return api.post(f"{API}import/", given, format="multipart")


def test_passages_are_written_searched_and_deleted(erin: User) -> None:
    api = api_of(erin)
    answer = api.post(API, {"name": "support", "passages": PASSAGES})
    assert answer.status_code == 201
    row = answer.json()
    assert (row["name"], row["version"], row["size"], row["state"]) == ("support", 1, 2, "ready")
    assert (row["embedding_model"], row["dimensions"]) == (None, 0)
    assert answer.headers["Location"].endswith(f"{API}{row['id']}/")
    (found,) = api.get(f"{API}{row['id']}/search/?q=thirty").json()
    assert (found["position"], found["title"], found["text"], found["score"] > 0) == (
        0,
        "Returns",
        "Thirty days.",
        True,
    )
    assert api.delete(f"{API}{row['id']}/", HTTP_IF_MATCH=answer.headers["ETag"]).status_code == 204
    assert not Corpus.objects.exists()


def test_a_frozen_corpus_stays(erin: User) -> None:
    api = api_of(erin)
    row = api.post(API, {"name": "support", "passages": PASSAGES}).json()
    frozen = api.post(f"{API}{row['id']}/freeze/")
    assert frozen.status_code == 200
    assert frozen.json()["frozen_at"] is not None
    answer = api.delete(f"{API}{row['id']}/", HTTP_IF_MATCH=frozen.headers["ETag"])
    assert (answer.status_code, answer.json()["code"]) == (409, "corpus_in_use")


def test_a_file_is_cut_embedded_and_searched_by_meaning(erin: User, model: LanguageModel, provider: Provider) -> None:
    api = api_of(erin)
    answer = upload(
        api, b"Cards are blocked. Money is sent. Fruit is sold.", chunk_size="3", embedding_model=model.name
    )
    assert answer.status_code == 202
    job = answer.json()
    assert (job["kind"], job["state"], job["dataset"], job["options"]) == ("corpus", "pending", None, {"chunk_size": 3})
    hidden = api.get(f"{API}{job['corpus']}/").json()
    assert (hidden["state"], hidden["size"]) == ("importing", 0)
    assert api.get(f"{API}{job['corpus']}/search/?q=x").json()["code"] == "corpus_importing"
    assert work_imports() == 1
    done = api.get(answer.headers["Location"].removeprefix("http://testserver")).json()
    assert (done["state"], done["report"]["passages"]) == ("completed", 3)
    assert done["report"]["embedding"]["model"] == "openai/vectors"
    row = api.get(f"{API}{job['corpus']}/").json()
    assert (row["state"], row["size"], row["embedding_model"], row["dimensions"]) == ("ready", 3, "openai/vectors", 32)
    for search in ("vector", "hybrid"):
        found = api.get(f"{API}{job['corpus']}/search/?q=money is sent&k=1&search={search}").json()
        assert [passage["text"] for passage in found] == ["Money is sent."]
    passage = api.get(f"/api/v1/passages/?corpus={job['corpus']}").json()["results"][0]
    assert "embedding" not in passage
    assert "embedding" not in api.get(f"/api/v1/passages/{passage['id']}/").json()


def test_an_upload_that_is_sent_again_is_the_same_import(erin: User, model: LanguageModel) -> None:
    api = api_of(erin)

    def send(content: bytes = b"text", **fields: Any) -> Any:
        given = {"name": "support", "file": SimpleUploadedFile("support.txt", content), **fields}
        return api.post(f"{API}import/", given, format="multipart", HTTP_IDEMPOTENCY_KEY="once")

    first, second = send(), send()
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    for changed in (send(b"other"), send(embedding_model=model.name), send(chunk_size="3")):
        assert (changed.status_code, changed.json()["code"]) == (409, "idempotency_key_reused")
    assert (Import.objects.count(), Corpus.objects.count()) == (1, 1)


@pytest.mark.parametrize(
    ("fields", "field", "code"),
    [
        ({"chunk_size": "0", "overlap": "3"}, "options.overlap", "out_of_range"),
        ({"chunk_size": "many"}, "chunk_size", "invalid"),
        ({"unit": "tokens"}, "unit", "invalid_choice"),
        ({"embedding_model": "openai/nothing"}, "embedding_model", "unknown_language_model"),
        ({"embedding_model": "openai/chat"}, "embedding_model", "not_an_embedding_model"),
        ({"mapping": "[]"}, "mapping", "not_an_object"),
        ({"nothing": "x"}, "nothing", "unknown_field"),
        ({"name": "No name"}, "name", "name_invalid"),
    ],
)
def test_wrong_uploads_are_refused(erin: User, fields: dict[str, Any], field: str, code: str) -> None:
    make_language_model(name="openai/chat")
    answer = upload(api_of(erin), b"text", **fields)
    assert answer.status_code == 400
    assert (answer.json()["errors"][0]["field"], answer.json()["errors"][0]["code"]) == (field, code)
    assert not Corpus.objects.exists()
    assert not Import.objects.exists()


@pytest.mark.parametrize(
    ("query", "field", "code"),
    [
        ("", "q", "required"),
        ("q=", "q", "blank"),
        ("q=x&k=0", "k", "out_of_range"),
        ("q=x&k=many", "k", "invalid"),
        ("q=x&search=grep", "search", "invalid_choice"),
        ("q=x&search=vector", "search", "corpus_without_vectors"),
        ("q=%00", "q", "null_characters_not_allowed"),
        ("q=x&page=2", "page", "unknown_parameter"),
    ],
)
def test_wrong_searches_are_refused(erin: User, query: str, field: str, code: str) -> None:
    api = api_of(erin)
    row = api.post(API, {"name": "support", "passages": PASSAGES}).json()
    answer = api.get(f"{API}{row['id']}/search/?{query}")
    assert answer.status_code == 400
    assert (answer.json()["errors"][0]["field"], answer.json()["errors"][0]["code"]) == (field, code)


@pytest.mark.parametrize(
    ("passages", "code"),
    [([], "empty"), ([{"text": "  "}], "corpus_invalid"), ([{"text": "x", "tags": []}], "unknown_field")],
)
def test_wrong_passages_are_refused(erin: User, passages: list[Any], code: str) -> None:
    answer = api_of(erin).post(API, {"name": "support", "passages": passages})
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert not Passage.objects.exists()


def test_an_ml_user_neither_writes_nor_searches(erin: User, alice: User) -> None:
    row = api_of(erin).post(API, {"name": "support", "passages": PASSAGES}).json()
    api = api_of(alice)
    assert api.post(API, {"name": "mine", "passages": PASSAGES}).status_code == 403
    assert upload(api, b"text").status_code == 403
    assert api.get(f"{API}{row['id']}/search/?q=thirty").status_code == 404
    assert Corpus.objects.count() == 1
