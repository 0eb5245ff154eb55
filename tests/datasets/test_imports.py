"""Files become datasets: whole or not at all, with a report of what was wrong."""

from __future__ import annotations

import json
import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import default_storage
from django.utils import timezone
from pytest_django import Settings

from datasets import services
from datasets.models import Dataset, Example, Import
from datasets.services import imports
from datasets.services.imports import sweep_imports, tidy_imports, work_imports
from datasets.services.uploads import discard_orphans
from mlops.errors import Conflict, DomainError, Forbidden
from mlops.models import User
from mlops.services.jobs import Held, Stopped, StopReason, claim, request_cancel

pytestmark = pytest.mark.django_db(transaction=True)

CSV = "message,intent,n\nWhere is it?,delivery,1\nMoney back,return,2\n"


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


def accept(actor: User, content: str | bytes = CSV, file_name: str = "triage.csv", **changes: Any) -> Import:
    raw = content.encode() if isinstance(content, str) else content
    given: dict[str, Any] = {"name": "triage", "type": "training", "file": ContentFile(raw, file_name)}
    return services.import_dataset(actor=actor, **{**given, **changes})


def worked(job: Import) -> Import:
    assert work_imports() == 1
    return Import.objects.get(pk=job.pk)


def stored_files() -> list[str]:
    return default_storage.listdir("imports")[1] if default_storage.exists("imports") else []


def nothing_remains() -> bool:
    return not Dataset.objects.exists() and not Example.objects.exists() and stored_files() == []


def test_a_file_becomes_a_dataset(erin: User) -> None:
    job = accept(erin)
    hidden = Dataset.objects.get()
    assert (job.state, hidden.state, hidden.size, job.dataset, job.file_size) == (
        "pending", "importing", 0, hidden, len(CSV)
    )  # fmt: skip
    job = worked(job)
    dataset = Dataset.objects.get()
    assert (job.state, job.error_code, job.file.name, stored_files()) == ("completed", "", "", [])
    assert job.report == {"rows": 2, "bad_rows": 0, "problems": [], "duplicates": {"count": 0, "first": []}}
    assert (dataset.state, dataset.size, dataset.version, dataset.frozen_at) == ("ready", 2, 1, None)
    rows = [
        {"message": "Where is it?", "intent": "delivery", "n": 1},
        {"message": "Money back", "intent": "return", "n": 2},
    ]
    assert list(dataset.examples.order_by("position").values_list("data", flat=True)) == rows
    assert {example.source_id for example in dataset.examples.all()} == {job.pk}
    assert dataset.schema["properties"]["n"] == {"type": "integer"}
    written = services.create_dataset(actor=erin, name="other", type="training", examples=rows)
    assert (dataset.content_hash, dataset.schema) == (written.content_hash, written.schema)
    reasons = dataset.history.order_by("history_id").values_list("history_change_reason", "history_user__username")
    assert list(reasons) == [("import_dataset", "erin")] * 2


def test_every_bad_row_is_reported_and_nothing_remains(erin: User) -> None:
    schema = {"properties": {"intent": {"enum": ["delivery", "return"]}}}
    content = CSV * 1 + "x,complaint,3\nx,return\nx,return,nan\n"
    job = worked(accept(erin, content, options={"schema": schema}))
    assert (job.state, job.error_code, job.dataset) == ("failed", "import_invalid", None)
    assert [(row["line"], row["field"], row["code"]) for row in job.report["problems"]] == [
        (4, "intent", "schema_enum"),
        (5, "", "too_few_cells"),
        (6, "n", "not_a_number"),
    ]
    assert (job.report["rows"], job.report["bad_rows"]) == (5, 3)
    assert nothing_remains()


def test_only_the_first_thousand_problems_are_kept_and_all_are_counted(erin: User) -> None:
    job = worked(accept(erin, "a,b\n" + "1\n" * 1_500))
    assert (len(job.report["problems"]), job.report["bad_rows"]) == (1_000, 1_500)
    assert job.report["problems"][0] == {
        "line": 2, "field": "", "code": "too_few_cells", "message": "1 cells under 2 headers."
    }  # fmt: skip


def test_rows_that_were_stored_before_the_first_bad_one_go_too(erin: User) -> None:
    content = "a\n" + "".join(f"{number}\n" for number in range(2_500)) + "x,y\n"
    job = worked(accept(erin, content))
    assert (job.state, job.report["rows"], job.report["bad_rows"]) == ("failed", 2_501, 1)
    assert nothing_remains()


@pytest.mark.parametrize(
    ("content", "code"),
    [
        ("a,b\n", "empty"),
        ("\n\n", "empty"),
        ("a,a\n1,2\n", "import_invalid"),
        (b"a\n\xff\n", "import_invalid"),
        ('a\n"1\n', "import_invalid"),
        ("a\n" + "1\n" * 100_001, "too_many"),
    ],
)
def test_files_that_are_no_dataset(erin: User, content: str | bytes, code: str) -> None:
    job = worked(accept(erin, content))
    assert (job.state, job.error_code) == ("failed", code)
    assert nothing_remains()


def test_what_a_report_quotes_can_be_stored(erin: User) -> None:
    job = worked(accept(erin, b'{"a\xff": 1}\n{"b": "\\u0000"}\n', "x.jsonl"))
    assert [row["code"] for row in job.report["problems"]] == ["undecodable", "unstorable_text"]


def test_duplicates_are_reported_and_kept_or_dropped(erin: User) -> None:
    content = "a\n1\n2\n1\n1\n"
    job = worked(accept(erin, content))
    assert job.report["duplicates"] == {
        "count": 2, "first": [{"line": 4, "duplicate_of": 2}, {"line": 5, "duplicate_of": 2}]
    }  # fmt: skip
    assert Dataset.objects.get().size == 4
    job = worked(accept(erin, content, options={"duplicates": "drop"}))
    dataset = Dataset.objects.get(version=2)
    assert (job.report["duplicates"]["count"], dataset.size, dataset.examples.count()) == (2, 2, 2)
    assert list(dataset.examples.order_by("position").values_list("position", flat=True)) == [0, 1]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"name": "Triage"}, "name_invalid"),
        ({"type": "holdout"}, "dataset_type_unknown"),
        ({"file_name": "x.xlsx"}, "format_unknown"),
        ({"format": "text"}, "format_unknown"),
        ({"content": ""}, "empty"),
        ({"description": "\x00"}, "unstorable_text"),
        ({"options": {"encodin": "utf-8"}}, "options_invalid"),
        ({"options": {"mapping": []}}, "options_invalid"),
        ({"options": {"mapping": {"a": {"b": 1}}}}, "options_invalid"),
        ({"options": {"duplicates": "merge"}}, "options_invalid"),
        ({"options": {"types": {"a": 1}}}, "options_invalid"),
        ({"options": {"schema": {"type": 7}}}, "options_invalid"),
        ({"options": {"delimiter": "\x00"}}, "unstorable_text"),
    ],
)
def test_what_is_wrong_before_reading_is_refused_at_once(erin: User, changes: dict[str, Any], code: str) -> None:
    with pytest.raises(DomainError) as refusal:
        accept(erin, **changes)
    assert refusal.value.code == code
    assert nothing_remains()
    assert not Import.objects.exists()


def test_a_file_beyond_the_limit_is_refused(erin: User, settings: Settings) -> None:
    settings.SIGNET_MAX_UPLOAD_BYTES = 10
    with pytest.raises(DomainError) as refusal:
        accept(erin)
    assert refusal.value.code == "file_too_large"
    assert nothing_remains()


def test_an_ml_user_imports_nothing_and_cancels_nothing(erin: User, charlie: User) -> None:
    with pytest.raises(Forbidden):
        accept(charlie)
    job = accept(erin)
    with pytest.raises(Forbidden):
        services.cancel_import(actor=charlie, job=job)
    assert not Import.objects.visible_to(charlie).exists()
    assert Import.objects.get().state == "pending"


def test_a_pending_import_is_cancelled_at_once_and_nothing_remains(erin: User) -> None:
    job = services.cancel_import(actor=erin, job=accept(erin))
    assert (job.state, job.dataset) == ("cancelled", None)
    assert nothing_remains()
    assert work_imports() == 0
    assert services.cancel_import(actor=erin, job=job).state == "cancelled"


def test_a_completed_import_is_not_cancelled(erin: User) -> None:
    job = worked(accept(erin))
    with pytest.raises(Conflict) as refusal:
        services.cancel_import(actor=erin, job=job)
    assert refusal.value.code == "import_not_cancellable"
    assert Dataset.objects.get().size == 2


@pytest.mark.parametrize("moment", range(6))
def test_a_running_import_is_cancelled_at_any_moment_and_nothing_remains(
    erin: User, monkeypatch: pytest.MonkeyPatch, moment: int
) -> None:
    """Cancelled just before the n-th transaction under the lease: tidying first, each batch, the end."""
    job = accept(erin, "a\n" + "".join(f"{number}\n" for number in range(3_500)))
    guard, moments = Held.guard, iter(range(100))

    def cancelling(held: Held[Import]) -> Any:
        if next(moments) == moment:
            request_cancel(held.job)
            held._stop = StopReason.CANCELLED  # what the thread that keeps the lease hears a moment later
        return guard(held)

    monkeypatch.setattr(Held, "guard", cancelling)
    job = worked(job)
    assert (job.state, job.dataset) == ("cancelled", None)
    assert nothing_remains()


def test_a_cancellation_that_arrives_in_the_last_moment_still_counts(
    erin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = accept(erin)
    end = Held.end
    calls: list[int] = []

    def cancelling(held: Held[Import], *args: Any, **options: Any) -> None:
        if not calls:
            request_cancel(held.job)
        calls.append(1)
        end(held, *args, **options)

    monkeypatch.setattr(Held, "end", cancelling)
    assert worked(job).state == "cancelled"
    assert nothing_remains()


def lost_attempt(job: Import) -> None:
    """A worker that stored two batches, and whose lease has expired since."""
    row = claim(Import.objects.all())
    assert row is not None
    held: Held[Import] = Held(row)
    rows = [Example(dataset_id=row.dataset_id, position=n, data={"old": n}, content_hash="") for n in range(2_000)]
    with held.guard():
        Example.objects.bulk_create(rows)
    Import.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_an_import_whose_worker_was_lost_starts_over(erin: User) -> None:
    job = accept(erin)
    lost_attempt(job)
    assert Example.objects.count() == 2_000
    sweep_imports()
    assert Import.objects.get().state == "pending"
    job = worked(job)
    assert (job.state, job.attempt, Dataset.objects.get().size, Example.objects.count()) == ("completed", 2, 2, 2)


def test_a_worker_that_lost_its_lease_stores_nothing_more(erin: User) -> None:
    job = accept(erin)
    row = claim(Import.objects.all())
    assert row is not None
    held: Held[Import] = Held(row)
    Import.objects.filter(pk=job.pk).update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    sweep_imports()
    with pytest.raises(Stopped), held.guard():
        raise AssertionError("the lease is not ours")
    assert worked(job).state == "completed"
    assert Example.objects.count() == 2


def test_what_a_lost_worker_left_of_a_cancelled_import_is_tidied_up(erin: User) -> None:
    job = accept(erin)
    lost_attempt(job)
    Import.objects.filter(pk=job.pk).update(cancel_requested_at=timezone.now())
    sweep_imports()
    assert Import.objects.get().state == "cancelled"
    assert nothing_remains()


def test_a_file_that_never_got_its_import_goes_after_a_day_and_no_other_does(erin: User, tmp_path: Path) -> None:
    job = accept(erin)
    for name in ("old.csv", "young.csv"):
        default_storage.save(f"imports/{name}", ContentFile(b"a\n1\n"))
    days_ago = time.time() - 2 * 86_400
    for name in ("old.csv", f"{job.pk}.csv"):
        os.utime(tmp_path / "imports" / name, (days_ago, days_ago))
    assert discard_orphans() == 1
    assert sorted(stored_files()) == sorted([f"{job.pk}.csv", "young.csv"])
    assert worked(job).state == "completed"


def test_without_any_upload_there_are_no_orphans() -> None:
    assert discard_orphans() == 0


def test_a_lost_file_is_said(erin: User) -> None:
    job = accept(erin)
    default_storage.delete(str(job.file.name))
    assert worked(job).error_code == "file_lost"
    assert nothing_remains()


def test_an_error_that_nobody_foresaw_leaves_nothing(erin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(held: Held[Import]) -> None:
        raise ValueError("secret")

    monkeypatch.setitem(imports.IMPORTERS, "dataset", broken)
    job = worked(accept(erin))
    assert (job.state, job.error_code) == ("failed", "internal_error")
    assert "secret" not in job.error_message
    assert nothing_remains()


def test_while_it_is_imported_nothing_is_visible_or_changeable(
    erin: User, admin: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(
        "datasets.services.dataset_files._publish",
        lambda *_args: seen.extend(Example.objects.visible_to(actor).count() for actor in (erin, admin)),
    )
    accept(erin)
    dataset = Dataset.objects.get()
    for verb in (services.freeze_dataset, services.delete_dataset):
        with pytest.raises(Conflict) as refusal:
            verb(actor=erin, dataset=dataset)
        assert refusal.value.code == "dataset_importing"
    with pytest.raises(Conflict):
        services.update_dataset(actor=erin, dataset=dataset, description="x")
    work_imports()
    assert seen == [0, 0]


def test_progress_is_told(erin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlops.services.jobs.holding.REPORT_S", 0)
    told: list[tuple[int, int]] = []
    report = Held.report

    def listening(held: Held[Import], progress: dict[str, Any], **options: Any) -> None:
        report(held, progress, **options)
        stored = Import.objects.get().progress
        told.append((stored["step"], stored["rows"]))

    monkeypatch.setattr(Held, "report", listening)
    worked(accept(erin, "a\n" + "1\n" * 2_500))
    assert told == [(1, 1_000), (1, 2_000), (2, 1_000), (2, 2_000)]


@pytest.mark.parametrize(("file_name", "lines"), [("rows.json", False), ("rows.jsonl", True)])
def test_nested_values_are_kept(erin: User, file_name: str, lines: bool) -> None:
    json_rows = [{"q": f"question {number}", "tags": ["a", None, {"x": 1.5}]} for number in range(3)]
    content = "".join(f"{json.dumps(row)}\n" for row in json_rows) if lines else json.dumps(json_rows)
    assert worked(accept(erin, content, file_name)).state == "completed"
    assert [example.data for example in Example.objects.order_by("position")] == json_rows


def test_the_same_name_again_is_the_next_version_and_a_failed_one_leaves_no_row(erin: User) -> None:
    worked(accept(erin))
    worked(accept(erin, "a,a\n"))
    worked(accept(erin))
    assert list(Dataset.objects.order_by("version").values_list("version", flat=True)) == [1, 2]
    tidy_imports()
    assert Dataset.objects.count() == 2
