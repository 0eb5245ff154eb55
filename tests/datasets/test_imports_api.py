"""Imports and written datasets over REST."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from django.core.files.storage import default_storage
from django.core.files.uploadedfile import SimpleUploadedFile
from django.db import connection
from pytest_django import Settings
from rest_framework.test import APIClient

from datasets import services
from datasets.models import Dataset, Example, Import
from datasets.services.imports import work_imports
from mlops.models import User
from tests.conftest import api_of
from tests.factories import make_token

pytestmark = pytest.mark.django_db(transaction=True)

ROWS = [{"message": "Where is it?", "intent": "delivery"}, {"message": "Money back", "intent": "return"}]
CSV = b"message,intent\nWhere is it?,delivery\nMoney back,return\n"


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


def upload(api: APIClient, content: bytes = CSV, file_name: str = "triage.csv", **fields: Any) -> Any:
    given = {"name": "triage", "type": "training", "file": SimpleUploadedFile(file_name, content), **fields}
    return api.post("/api/v1/datasets/import/", given, format="multipart")


def create(api: APIClient, **changes: Any) -> Any:
    return api.post("/api/v1/datasets/", {"name": "triage", "type": "training", "data": ROWS, **changes})


def test_a_file_is_uploaded_watched_and_read_back(erin: User) -> None:
    api = api_of(erin)
    answer = upload(api, description="first")
    assert answer.status_code == 202
    job = answer.json()
    assert (job["state"], job["kind"], job["file_name"], job["file_size"]) == (
        "pending",
        "dataset",
        "triage.csv",
        len(CSV),
    )
    assert answer.headers["Location"].endswith(f"/api/v1/imports/{job['id']}/")
    dataset = api.get(f"/api/v1/datasets/{job['dataset']}/").json()
    assert (dataset["state"], dataset["size"], dataset["data"]) == ("importing", 0, [])
    assert work_imports() == 1
    done = api.get(f"/api/v1/imports/{job['id']}/?wait=5").json()
    assert (done["state"], done["report"]["rows"]) == ("completed", 2)
    dataset = api.get(f"/api/v1/datasets/{job['dataset']}/").json()
    assert (dataset["state"], dataset["description"], dataset["data"]) == ("ready", "first", ROWS)
    (row,) = api.get("/api/v1/imports/?state=completed&kind=dataset").json()["results"]
    assert (row["id"], "report" in row) == (job["id"], False)


def test_options_are_fields_of_the_form(erin: User) -> None:
    api = api_of(erin)
    schema = {"properties": {"answer": {"enum": ["a", "b"]}}, "required": ["answer"]}
    answer = upload(
        api, b"q;l;x\n1;a;2\n3;c;4\n", "data.txt", format="csv", delimiter=";", duplicates="drop", encoding="cp1252",
        mapping=json.dumps({"q": "question", "l": "answer"}), types='{"question": "string"}', schema=json.dumps(schema),
    )  # fmt: skip
    assert answer.status_code == 202
    work_imports()
    report = api.get(f"/api/v1/imports/{answer.json()['id']}/").json()["report"]
    assert report == {
        "rows": 2,
        "bad_rows": 1,
        "problems": [{"line": 3, "field": "answer", "code": "schema_enum", "message": "'c' is not one of ['a', 'b']"}],
        "duplicates": {"count": 0, "first": []},
    }
    assert not Dataset.objects.exists()


@pytest.mark.parametrize(
    ("fields", "status", "code", "field"),
    [
        ({"name": "Triage"}, 400, "name_invalid", "name"),
        ({"type": "holdout"}, 400, "invalid_choice", "type"),
        ({"mapping": "[1]"}, 400, "not_an_object", "mapping"),
        ({"mapping": "{"}, 400, "malformed_json", "mapping"),
        ({"schema": '{"x": NaN}'}, 400, "not_a_number", "schema"),
        ({"schema": "[" * 100_000}, 400, "too_deep", "schema"),
        ({"types": '{"a": "date"}'}, 400, "options_invalid", "options.types.a"),
        ({"file_name": "x.exe"}, 400, "format_unknown", "format"),
        ({"content": b""}, 400, "empty", "file"),
        ({"owner": "me"}, 400, "unknown_field", "owner"),
        ({"file": "text"}, 400, "invalid", "file"),
    ],
)
def test_what_is_wrong_with_an_upload_is_named(
    erin: User, fields: dict[str, Any], status: int, code: str, field: str
) -> None:
    answer = upload(api_of(erin), **fields)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.json()["errors"][0]["field"] == field
    assert not Import.objects.exists()
    assert not Dataset.objects.exists()


def test_uploads_of_other_kinds_and_sizes_are_refused(erin: User, settings: Settings) -> None:
    api = api_of(erin)
    assert api.post("/api/v1/datasets/import/", {"name": "x"}).status_code == 415
    settings.SIGNET_MAX_UPLOAD_BYTES = 10
    assert (upload(api).status_code, upload(api).json()["code"]) == (413, "file_too_large")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 100
    assert upload(api, b"a\n", description="x" * 200).json()["code"] == "body_too_large"
    assert not Import.objects.exists()


def test_an_upload_that_is_sent_again_is_the_same_import(erin: User) -> None:
    api = APIClient()
    api.credentials(HTTP_AUTHORIZATION=f"Bearer {make_token(erin)[1]}", HTTP_IDEMPOTENCY_KEY="once")
    first, second = upload(api), upload(api)
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json()["id"] == second.json()["id"]
    other = upload(api, CSV + b"x,y\n")
    assert (other.status_code, other.json()["code"]) == (409, "idempotency_key_reused")
    assert (Import.objects.count(), Dataset.objects.count()) == (1, 1)
    assert len(default_storage.listdir("imports")[1]) == 1


def test_of_many_at_once_with_one_key_one_is_accepted(erin: User) -> None:
    token = make_token(erin)[1]

    def send(_number: int) -> Any:
        api = APIClient()
        api.credentials(HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_IDEMPOTENCY_KEY="once")
        try:
            return upload(api)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(send, range(4)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert (Import.objects.count(), Dataset.objects.count()) == (1, 1)
    assert len(default_storage.listdir("imports")[1]) == 1


def test_an_import_is_cancelled(erin: User) -> None:
    api = api_of(erin)
    job = upload(api).json()
    answer = api.post(f"/api/v1/imports/{job['id']}/cancel/")
    assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
    assert not Dataset.objects.exists()
    upload(api)
    work_imports()
    done = Import.objects.get(state="completed")
    answer = api.post(f"/api/v1/imports/{done.pk}/cancel/")
    assert (answer.status_code, answer.json()["code"]) == (409, "import_not_cancellable")


def test_an_ml_user_may_do_none_of_this(erin: User, charlie: User) -> None:
    job, dataset = upload(api_of(erin)).json(), create(api_of(erin), name="other").json()
    api = api_of(charlie)
    assert upload(api).status_code == 403
    assert create(api).status_code == 403
    assert api.get("/api/v1/imports/").json()["results"] == []
    for path in (f"imports/{job['id']}/", f"imports/{job['id']}/events/", f"datasets/{dataset['id']}/export/"):
        assert api.get(f"/api/v1/{path}").status_code == 404
    for path in (f"imports/{job['id']}/cancel/", f"datasets/{dataset['id']}/freeze/"):
        assert api.post(f"/api/v1/{path}").status_code == 404
    assert api.delete(f"/api/v1/datasets/{dataset['id']}/").status_code == 404
    assert APIClient().get(f"/api/v1/datasets/{dataset['id']}/export/").status_code == 401
    assert (Dataset.objects.count(), Import.objects.get().state) == (2, "pending")


def test_a_dataset_is_written_as_a_list_of_maps(erin: User) -> None:
    api = api_of(erin)
    answer = create(api, description="by hand")
    assert answer.status_code == 201
    made = answer.json()
    assert (made["version"], made["size"], made["state"], made["data"]) == (1, 2, "ready", ROWS)
    assert made["schema"]["properties"] == {"message": {"type": "string"}, "intent": {"type": "string"}}
    path = f"/api/v1/datasets/{made['id']}/"
    changed = api.patch(path, {"data": ROWS[:1]}, headers={"If-Match": answer.headers["ETag"]})
    assert (changed.status_code, changed.json()["data"], changed.json()["size"]) == (200, ROWS[:1], 1)
    assert changed.json()["content_hash"] != made["content_hash"]
    assert api.patch(path, {"description": "x"}, headers={"If-Match": answer.headers["ETag"]}).status_code == 412
    assert api.delete(path).status_code == 204
    assert not Example.objects.exists()


def test_a_frozen_dataset_keeps_its_examples_and_may_be_described(erin: User) -> None:
    api = api_of(erin)
    path = f"/api/v1/datasets/{create(api).json()['id']}/"
    assert api.post(f"{path}freeze/").json()["frozen_at"] is not None
    forbidden: list[dict[str, Any]] = [{"data": ROWS[:1]}, {"schema": {}}]
    for fields in forbidden:
        answer = api.patch(path, fields)
        assert (answer.status_code, answer.json()["code"]) == (409, "dataset_frozen")
        assert "next version" in answer.json()["detail"]
    assert api.patch(path, {"description": "used"}).json()["description"] == "used"
    assert (api.delete(path).status_code, Example.objects.count()) == (409, 2)


@pytest.mark.parametrize(
    ("changes", "code", "field"),
    [
        ({"data": []}, "empty", "data"),
        ({"data": [{}]}, "dataset_invalid", "data.0"),
        ({"data": [{"a": 1}, {"a": "\x00"}]}, "unstorable_text", "data.1.a"),
        ({"data": ["text"]}, "not_a_dict", "data.0"),
        ({"data": {"a": 1}}, "not_a_list", "data"),
        ({"data": [{"a": 1}] * 10_001}, "too_many", "data"),
        ({"schema": {"type": "objekt"}}, "schema_invalid", "schema"),
        ({"schema": {"properties": {"intent": {"enum": ["return"]}}}}, "dataset_invalid", "data.0.intent"),
        ({"name": "x" * 64}, "name_invalid", "name"),
        ({"size": 7}, "unknown_field", "size"),
    ],
)
def test_what_is_wrong_with_a_dataset_is_named(erin: User, changes: dict[str, Any], code: str, field: str) -> None:
    answer = create(api_of(erin), **changes)
    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert answer.json()["errors"][0]["field"] == field
    assert not Dataset.objects.exists()


def test_a_schema_is_changed_only_to_one_that_the_examples_fulfil(erin: User) -> None:
    api = api_of(erin)
    path = f"/api/v1/datasets/{create(api).json()['id']}/"
    wrong = {"properties": {"intent": {"const": "return"}}}
    assert api.patch(path, {"schema": wrong}).json()["errors"][0]["field"] == "data.0.intent"
    right = {"properties": {"intent": {"enum": ["return", "delivery"]}}}
    assert api.patch(path, {"schema": right}).json()["schema"] == right


def test_beyond_ten_thousand_examples_the_detail_has_no_data(erin: User) -> None:
    dataset = services.create_dataset(actor=erin, name="many", type="test", examples=[{"a": 1}] * 10_001)
    detail = api_of(erin).get(f"/api/v1/datasets/{dataset.pk}/").json()
    assert (detail["size"], detail["data"]) == (10_001, None)
