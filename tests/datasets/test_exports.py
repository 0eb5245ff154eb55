"""Datasets as files, and back again."""

from __future__ import annotations

import asyncio
import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.test import AsyncClient
from pytest_django import Settings

from datasets import services
from datasets.models import Dataset
from datasets.runtime.reading import is_parquet_installed
from datasets.services.imports import work_imports
from datasets.types import FileFormat
from mlops.models import User
from tests.conftest import api_of
from tests.factories import make_token

pytestmark = pytest.mark.django_db(transaction=True)

ROWS: list[dict[str, Any]] = [
    {"text": 'with "quotes", commas\nand lines', "label": "a", "n": 1, "price": 1.5, "ok": True},
    {"text": "grüße 🙂", "label": "007", "n": -20, "price": 2.25, "ok": False, "tags": ["x", {"y": None}]},
    {"text": "1e5", "label": "true", "n": 0, "price": -0.1, "ok": True, "tags": []},
]
FORMATS = [format.value for format in FileFormat if format is not FileFormat.TEXT]


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


async def exported(user_token: str, dataset: Dataset, format: str) -> tuple[Any, bytes]:
    path = f"/api/v1/datasets/{dataset.pk}/export/?as={format}"
    response: Any = await AsyncClient().get(path, headers={"Authorization": f"Bearer {user_token}"})
    pieces = [piece async for piece in response.streaming_content] if response.streaming else [response.content]
    return response, b"".join(pieces)


def export(user: User, dataset: Dataset, format: str) -> tuple[Any, bytes]:
    """Through the asynchronous view, as a server calls it."""
    return asyncio.run(exported(make_token(user)[1], dataset, format))


def made(actor: User, rows: list[dict[str, Any]], **changes: Any) -> Dataset:
    return services.create_dataset(actor=actor, **{"name": "triage", "type": "test", "examples": rows, **changes})


def imported(actor: User, content: bytes, format: str, **options: Any) -> Dataset:
    file = ContentFile(content, f"again.{format}")
    job = services.import_dataset(actor=actor, name="again", type="test", file=file, options=options)
    assert work_imports() == 1
    job.refresh_from_db(fields=["report"])
    assert job.report["problems"] == []
    return Dataset.objects.get(name="again")


def data_of(dataset: Dataset) -> list[dict[str, Any]]:
    return list(dataset.examples.order_by("position").values_list("data", flat=True))


def test_a_csv_file_is_named_typed_and_in_order(erin: User) -> None:
    response, content = export(erin, made(erin, ROWS), "csv")
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/csv; charset=utf-8")
    assert response.headers["Content-Disposition"] == 'attachment; filename="triage-test-1.csv"'
    assert list(csv.reader(io.StringIO(content.decode(), newline=""))) == [
        ["text", "label", "n", "price", "ok", "tags"],
        ['with "quotes", commas\nand lines', "a", "1", "1.5", "true", ""],
        ["grüße 🙂", "007", "-20", "2.25", "false", '["x", {"y": null}]'],
        ["1e5", "true", "0", "-0.1", "true", "[]"],
    ]


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_exported_is_imported_again_with_the_same_content(erin: User, format: str) -> None:
    if format == "parquet" and not is_parquet_installed():
        pytest.skip("pyarrow is not installed")
    dataset = made(erin, ROWS)
    _response, content = export(erin, dataset, format)
    if format == "parquet":  # nested values are JSON there
        again = imported(erin, content, format)
        assert [{k: v for k, v in row.items() if k != "tags"} for row in data_of(again)] == [
            {k: v for k, v in row.items() if k != "tags"} for row in ROWS
        ]
        assert json.loads(data_of(again)[1]["tags"]) == ROWS[1]["tags"]
        return
    again = imported(erin, content, format, schema=dataset.schema)
    assert data_of(again) == ROWS
    assert (again.content_hash, again.schema) == (dataset.content_hash, dataset.schema)


def test_json_keeps_even_what_looks_like_a_formula_or_nothing(erin: User) -> None:
    rows: list[dict[str, Any]] = [{"a": "=1+1", "b": ""}, {"a": None}, {"": "\t"}]
    dataset = made(erin, rows)
    for format in ("json", "jsonl"):
        _response, content = export(erin, dataset, format)
        parsed = json.loads(content) if format == "json" else [json.loads(line) for line in content.splitlines()]
        assert parsed == rows


@pytest.mark.parametrize("format", ["csv", "tsv"])
def test_no_cell_is_calculated_by_a_spreadsheet(erin: User, format: str) -> None:
    cells = ["=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-5", "+5", "-1.5e3", "fine", "a=b"]
    dataset = made(erin, [{"=cell": cell, "n": -7} for cell in cells])
    _response, content = export(erin, dataset, format)
    delimiter = "," if format == "csv" else "\t"
    header, *rows = csv.reader(io.StringIO(content.decode(), newline=""), delimiter=delimiter)
    assert header == ["'=cell", "n"]
    assert [row[0] for row in rows] == [*(f"'{cell}" for cell in cells[:6]), *cells[6:]]
    assert {row[1] for row in rows} == {"-7"}


def test_more_than_one_batch_is_sent_whole(erin: User) -> None:
    rows = [{"n": number} for number in range(2_500)]
    dataset = made(erin, rows)
    assert export(erin, dataset, "csv")[1].decode().split() == ["n", *map(str, range(2_500))]
    assert json.loads(export(erin, dataset, "json")[1]) == rows


def test_a_field_that_the_schema_does_not_name_is_exported(erin: User) -> None:
    dataset = made(erin, [{"a": 1}, {"b": 2}], schema={"properties": {"a": {"type": "integer"}}})
    assert export(erin, dataset, "csv")[1] == b"a,b\r\n1,\r\n,2\r\n"


def test_unknown_formats_and_unfinished_datasets_are_refused(erin: User) -> None:
    dataset = made(erin, ROWS)
    assert export(erin, dataset, "xlsx")[0].status_code == 400
    services.import_dataset(actor=erin, name="new", type="test", file=ContentFile(b"a\n1\n", "a.csv"))
    response, content = export(erin, Dataset.objects.get(name="new"), "csv")
    assert (response.status_code, json.loads(content)["code"]) == (409, "dataset_importing")


def test_an_ml_user_exports_nothing(erin: User, charlie: User) -> None:
    dataset = made(erin, ROWS)
    assert export(charlie, dataset, "csv")[0].status_code == 404
    assert api_of(erin).post(f"/api/v1/datasets/{dataset.pk}/export/").status_code == 405
