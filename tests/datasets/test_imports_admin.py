"""Importing, watching and exporting in the admin site."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from datasets import services
from datasets.models import Dataset, Import
from datasets.services.imports import work_imports
from mlops.models import User

pytestmark = pytest.mark.django_db(transaction=True)

SUBMIT = {"_form_submitted": "true"}
"""What the dialog of a button sends."""

FORM = "/admin/datasets/dataset/import/"


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def browser(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


def upload(browser: Client, content: bytes = b"a,b\n1,x\n2,<b>y</b>\n", **fields: Any) -> Any:
    file = SimpleUploadedFile("rows.csv", content)
    given = {"name": "triage", "type": "test", "duplicates": "keep", "file": file, **fields}
    return browser.post(FORM, given)


def test_the_list_leads_to_the_form(browser: Client) -> None:
    assert FORM in browser.get("/admin/datasets/dataset/").content.decode()
    page = browser.get(FORM)
    assert (page.status_code, 'enctype="multipart/form-data"' in page.content.decode()) == (200, True)
    assert not Import.objects.exists()


def test_an_uploaded_file_leads_to_the_page_of_its_import(browser: Client) -> None:
    answer = upload(browser, mapping='{"a": "number"}')
    job = Import.objects.get()
    assert (answer.status_code, answer.headers["Location"]) == (302, f"/admin/datasets/import/{job.pk}/change/")
    page = browser.get(answer.headers["Location"]).content.decode()
    assert f'data-events="/api/v1/imports/{job.pk}/events/"' in page
    assert "datasets/import.js" in page
    work_imports()
    page = browser.get(answer.headers["Location"]).content.decode()
    assert "2 rows, 0 of them bad, 0 duplicates." in page
    assert "data-events" not in page
    assert [example.data for example in Dataset.objects.get().examples.order_by("position")] == [
        {"number": 1},
        {"number": 2},
    ]
    assert browser.get("/admin/datasets/import/").status_code == 200


def test_bad_rows_are_a_table_and_nothing_in_it_is_markup(browser: Client) -> None:
    upload(browser, b"label\n<script>alert(1)</script>\n", schema='{"properties": {"label": {"enum": ["a"]}}}')
    work_imports()
    page = browser.get(f"/admin/datasets/import/{Import.objects.get().pk}/change/").content.decode()
    assert "<td>2</td><td>label</td><td>schema_enum</td>" in page
    assert "&lt;script&gt;alert(1)" in page
    assert "<script>alert(1)" not in page


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"name": "Triage"}, "A name starts with a small letter"),
        ({"mapping": "{"}, "Enter a valid JSON"),
        ({"types": '{"a": "date"}'}, "One of string, integer"),
        ({"content": b""}, "The file has no records."),
    ],
)
def test_what_is_wrong_stands_in_the_form(browser: Client, fields: dict[str, Any], text: str) -> None:
    answer = upload(browser, **fields)
    assert (answer.status_code, text in answer.content.decode()) == (400, True)
    assert not Import.objects.exists()


def test_the_button_cancels_by_post_only(browser: Client) -> None:
    upload(browser)
    job = Import.objects.get()
    path = reverse("admin:datasets_import_cancel", args=[job.pk])
    browser.get(path)
    assert Import.objects.get().state == "pending"
    browser.post(path, SUBMIT)
    assert Import.objects.get().state == "cancelled"
    assert not Dataset.objects.exists()


def test_a_ready_dataset_is_exported_and_frozen_from_its_page(browser: Client, erin: User) -> None:
    dataset = services.create_dataset(actor=erin, name="triage", type="test", examples=[{"a": 1}])
    page = browser.get(f"/admin/datasets/dataset/{dataset.pk}/change/").content.decode()
    assert f"/api/v1/datasets/{dataset.pk}/export/?as=csv" in page
    browser.post(reverse("admin:datasets_dataset_freeze", args=[dataset.pk]), SUBMIT)
    assert Dataset.objects.get().frozen_at is not None


def test_an_importing_dataset_shows_no_rows_and_no_files(browser: Client, erin: User) -> None:
    services.import_dataset(actor=erin, name="triage", type="test", file=ContentFile(b"a\n1\n", "a.csv"))
    page = browser.get(f"/admin/datasets/dataset/{Dataset.objects.get().pk}/change/").content.decode()
    assert "Importing" in page
    assert "/export/" not in page


def test_an_ml_user_is_not_let_in(charlie: User) -> None:
    client = Client()
    client.force_login(charlie)
    assert upload(client).status_code == 302
    assert client.get("/admin/datasets/import/").status_code == 302
    assert not Import.objects.exists()
