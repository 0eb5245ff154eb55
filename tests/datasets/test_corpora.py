"""Files become corpora with passages and vectors, whole or not at all; what embedding costs is charged once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.files.base import ContentFile
from django.utils import timezone
from pytest_django import Settings

from datasets import services
from datasets.models import Corpus, Import, Passage
from datasets.runtime.vectors import matrix_of
from datasets.selectors import search_corpus
from datasets.services import imports
from datasets.services.imports import sweep_imports, work_imports
from datasets.types import PassageSpec
from mlops.errors import Conflict, DomainError, Forbidden
from mlops.models import CreditEntry, LanguageModel, User
from mlops.runtime.embeddings import MAX_TEXTS
from mlops.selectors import proven_balance
from mlops.services.credits import credits_for
from mlops.services.jobs import Held, Stopped, StopReason, claim
from tests.factories import make_language_model, make_price
from tests.provider import Provider, hang, reset, status, vectors
from tests.provider.answers import vector_of

pytestmark = pytest.mark.django_db(transaction=True)

PAGES = "# Returns\nThirty days to return it.\n\fOpening hours are nine to five.\n\f\n"
CSV = "title,text\nReturns,Thirty days. Bring it back.\n,Nine to five.\n"


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def provider() -> Iterator[Provider]:
    with Provider() as running:
        yield running


@pytest.fixture
def model(provider: Provider) -> LanguageModel:
    found = make_language_model(
        name="openai/vectors", kind="embedding", api_base=provider.base_url, timeout_s=5, deadline_s=5, max_retries=1
    )
    make_price(found, input_price=4_000_000, cached_input_price=0, output_price=0)
    return found


def accept(actor: User, content: str | bytes = PAGES, file_name: str = "support.md", **changes: Any) -> Import:
    raw = content.encode() if isinstance(content, str) else content
    given: dict[str, Any] = {"name": "support", "file": ContentFile(raw, file_name)}
    return services.import_corpus(actor=actor, **{**given, **changes})


def worked(job: Import) -> Import:
    assert work_imports() == 1
    return Import.objects.get(pk=job.pk)


def passages(corpus: Corpus | None = None) -> list[tuple[str, str]]:
    rows = Passage.objects.filter(corpus=corpus or Corpus.objects.get()).order_by("position")
    return [(row.title, row.text) for row in rows]


def charge(tokens: int) -> int:
    """Micro-credits for tokens at the price of the model."""
    return credits_for(tokens * 4_000_000)


def nothing_remains() -> bool:
    return not Corpus.objects.exists() and not Passage.objects.exists()


def test_documents_of_a_text_stand_between_form_feeds_and_are_called_by_their_heading(erin: User) -> None:
    job = accept(erin)
    hidden = Corpus.objects.get()
    assert (job.state, job.kind, job.format, hidden.state, hidden.version) == (
        "pending",
        "corpus",
        "text",
        "importing",
        1,
    )
    job = worked(job)
    assert (job.state, job.error_code) == ("completed", "")
    assert passages() == [
        ("Returns", "# Returns\nThirty days to return it."),
        ("support", "Opening hours are nine to five."),
    ]
    corpus = Corpus.objects.get()
    assert (corpus.state, corpus.size, corpus.dimensions, corpus.embedding_model) == ("ready", 2, 0, None)
    same = services.create_corpus(actor=erin, name="same", passages=[PassageSpec(*row) for row in passages(corpus)])
    assert corpus.content_hash == same.content_hash
    assert (job.report["rows"], job.report["bad_rows"], job.report["passages"]) == (2, 0, 2)
    assert "embedding" not in job.report
    assert not CreditEntry.objects.exists()
    assert Corpus.history.filter(id=corpus.pk).first().history_change_reason == "import_corpus"


@pytest.mark.parametrize(
    ("content", "file_name"),
    [
        (CSV, "support.csv"),
        (CSV.replace(",", "\t"), "support.tsv"),
        (
            '[{"title": "Returns", "text": "Thirty days. Bring it back."}, {"text": "Nine to five.", "title": null}]',
            "support.json",
        ),
        (
            '{"title": "Returns", "text": "Thirty days. Bring it back."}\n{"text": "Nine to five."}\n',
            "support.jsonl",
        ),
    ],
    ids=["csv", "tsv", "json", "jsonl"],
)
def test_records_with_title_and_text_are_documents(erin: User, content: str, file_name: str) -> None:
    assert worked(accept(erin, content, file_name)).state == "completed"
    assert passages() == [("Returns", "Thirty days. Bring it back."), ("", "Nine to five.")]


def test_columns_may_have_other_names(erin: User) -> None:
    options = {"mapping": {"head": "title", "body": "text"}, "delimiter": ";"}
    job = worked(accept(erin, "head;body;other\nA;a b;c\n", "x.csv", options=options))
    assert (job.state, job.report["problems"]) == ("completed", [])
    assert passages() == [("A", "a b")]


def test_documents_are_cut_into_passages_under_their_title(erin: User) -> None:
    options = {"chunk_size": 2, "overlap": 0, "unit": "words"}
    job = worked(accept(erin, CSV, "support.csv", options=options))
    assert passages() == [
        ("Returns", "Thirty days."),
        ("Returns", "Bring it"),
        ("Returns", "back."),
        ("", "Nine to"),
        ("", "five."),
    ]
    assert (job.report["rows"], job.report["passages"], Corpus.objects.get().size) == (2, 5, 5)


@pytest.mark.parametrize(
    ("content", "file_name", "problem"),
    [
        ("title,text\nA,a\nB,\n", "x.csv", (3, "text", "blank")),
        ("title,body\nA,a\n", "x.csv", (2, "text", "blank")),
        (f"title,text\n{'x' * 301},a\n", "x.csv", (2, "title", "too_long")),
        ('[{"text": 7}]', "x.json", (1, "text", "type_wrong")),
        (b"one\n\ftwo\nthree \xff", "x.txt", (2, "text", "undecodable")),
        ("one\x00two", "x.txt", (1, "text", "unstorable_text")),
    ],
)
def test_a_document_that_cannot_be_kept_is_named_and_nothing_is_imported(
    erin: User, content: str | bytes, file_name: str, problem: tuple[int, str, str]
) -> None:
    job = worked(accept(erin, content, file_name))
    assert (job.state, job.error_code) == ("failed", "import_invalid")
    (first,) = job.report["problems"]
    assert (first["line"], first["field"], first["code"]) == problem
    assert nothing_remains()


@pytest.mark.parametrize("content", [" \n\f\n ", "title,text\n"])
def test_a_file_without_documents_is_refused(erin: User, content: str) -> None:
    job = worked(accept(erin, content, "x.csv" if "," in content else "x.txt"))
    assert (job.state, job.error_code) == ("failed", "empty")
    assert nothing_remains()


def test_more_passages_than_a_corpus_holds_are_refused(erin: User) -> None:
    job = worked(accept(erin, "a b. " * 20_001, "x.txt", options={"chunk_size": 2}))
    assert (job.state, job.error_code) == ("failed", "too_many")
    assert nothing_remains()


@pytest.mark.parametrize(
    ("options", "field", "code"),
    [
        ({"chunk_size": -1}, "options.chunk_size", "out_of_range"),
        ({"chunk_size": "5"}, "options.chunk_size", "out_of_range"),
        ({"chunk_size": True}, "options.chunk_size", "out_of_range"),
        ({"chunk_size": 100_001}, "options.chunk_size", "out_of_range"),
        ({"chunk_size": 5, "overlap": 5}, "options.overlap", "out_of_range"),
        ({"overlap": 1}, "options.overlap", "out_of_range"),
        ({"chunk_size": 5, "unit": "tokens"}, "options.unit", "invalid_choice"),
        ({"duplicates": "drop"}, "options.duplicates", "unknown_field"),
        ({"encoding": "ebcdic"}, "options.encoding", "encoding_unknown"),
        ({"delimiter": ";"}, "options.delimiter", "delimiter_invalid"),
    ],
)
def test_wrong_options_are_refused_at_once(erin: User, options: dict[str, Any], field: str, code: str) -> None:
    with pytest.raises(DomainError) as refusal:
        accept(erin, options=options)
    assert refusal.value.code == "options_invalid"
    assert [(problem.field, problem.code) for problem in refusal.value.problems] == [(field, code)]
    assert nothing_remains()
    assert not Import.objects.exists()


def test_other_refusals_come_at_once_too(erin: User, alice: User, model: LanguageModel) -> None:
    with pytest.raises(Forbidden):
        accept(alice)
    for changes, code in (
        ({"name": "No name"}, "name_invalid"),
        ({"file": ContentFile(b"x", "x.pdf")}, "format_unknown"),
        ({"file": ContentFile(b"", "x.txt")}, "empty"),
        ({"embedding_model": make_language_model()}, "not_an_embedding_model"),
        ({"embedding_model": make_language_model(kind="embedding", is_enabled=False)}, "embedding_model_disabled"),
    ):
        with pytest.raises(DomainError) as refusal:
            accept(erin, **changes)
        assert refusal.value.code == code
    assert nothing_remains()


def many(count: int) -> str:
    return "\f".join(f"Document number {number} about card {number % 7}." for number in range(count))


def test_every_passage_gets_a_vector_and_the_owner_pays_once(
    erin: User, provider: Provider, model: LanguageModel
) -> None:
    job = worked(accept(erin, many(MAX_TEXTS + 4), embedding_model=model))
    assert (job.state, job.error_message) == ("completed", "")
    corpus = Corpus.objects.get()
    assert (corpus.dimensions, corpus.embedding_model) == (32, model)
    rows = list(Passage.objects.order_by("position"))
    expected = np.array([vector_of(row.as_spec().as_text) for row in rows])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert np.allclose(matrix_of((row.embedding for row in rows), 32), expected, atol=1e-6)
    assert [len(request.body["input"]) for request in provider.requests] == [MAX_TEXTS, 4]
    tokens = sum(1 + sum(len(text) for text in request.body["input"]) // 4 for request in provider.requests)
    assert job.report["embedding"] == {
        "model": "openai/vectors",
        "input_tokens": tokens,
        "cost_usd": f"{tokens * 4 / 10**6:f}".rstrip("0"),
    }
    reserved, settled = CreditEntry.objects.filter(subject_id=job.pk).order_by("created_at")
    assert (reserved.kind, reserved.key, settled.kind) == ("reserve", f"import:{job.pk}", "settle")
    assert -reserved.amount >= settled.used > 0
    assert settled.used == charge(tokens) == -proven_balance(erin)


def test_nothing_is_embedded_of_a_file_that_is_not_sound(erin: User, provider: Provider, model: LanguageModel) -> None:
    job = worked(accept(erin, "title,text\nA,a\nB,\n", "x.csv", embedding_model=model))
    assert (job.state, provider.requests, CreditEntry.objects.count()) == ("failed", [], 0)


@pytest.mark.parametrize(
    ("faults", "message"),
    [
        ([status(401)], "The provider refused the credentials (HTTP 401)."),
        ([reset(), reset()], "could not be reached, or broke the connection off"),
        ([vectors([1.0]), vectors([1.0])], "The provider gave 1 vectors for 96 texts."),
    ],
    ids=["401", "resets", "wrong count"],
)
def test_a_provider_that_fails_leaves_no_corpus_and_says_why(
    erin: User, provider: Provider, model: LanguageModel, faults: list[Any], message: str
) -> None:
    provider.script(*faults)
    job = worked(accept(erin, many(100), embedding_model=model))
    assert (job.state, job.error_code) == ("failed", "embedding_failed")
    assert message in job.error_message
    assert nothing_remains()
    used = CreditEntry.objects.get(key=f"end:import:{job.pk}").used
    assert (used > 0) == ("96 texts" in message)  # an answer that is of no use is billed like any other
    assert proven_balance(erin) == -used


def test_what_was_paid_before_the_provider_failed_is_charged(
    erin: User, provider: Provider, model: LanguageModel
) -> None:
    def answer_then_refuse() -> None:
        provider.script(vectors(*[[1.0, 2.0]] * MAX_TEXTS, usage={"prompt_tokens": 50}), status(401))

    answer_then_refuse()
    job = worked(accept(erin, many(MAX_TEXTS + 4), embedding_model=model))
    assert (job.state, job.report["embedding"]["input_tokens"], job.report["passages"]) == ("failed", 50, MAX_TEXTS)
    assert CreditEntry.objects.get(key=f"end:import:{job.pk}").used == -proven_balance(erin) == charge(50)
    assert nothing_remains()


def test_vectors_of_two_lengths_are_refused(erin: User, provider: Provider, model: LanguageModel) -> None:
    provider.script(vectors(*[[1.0, 2.0]] * MAX_TEXTS))
    job = worked(accept(erin, many(MAX_TEXTS + 4), embedding_model=model))
    assert (job.error_code, "different lengths" in job.error_message) == ("embedding_failed", True)
    assert nothing_remains()


def test_a_model_without_a_price_costs_what_nobody_knows(erin: User, provider: Provider) -> None:
    free = make_language_model(name="openai/unpriced", kind="embedding", api_base=provider.base_url)
    job = worked(accept(erin, embedding_model=free))
    assert (job.state, job.report["embedding"]["cost_usd"], proven_balance(erin)) == ("completed", None, 0)
    assert CreditEntry.objects.filter(subject_id=job.pk).count() == 2


def test_a_lost_worker_is_taken_over_and_its_share_is_charged_once(
    erin: User, provider: Provider, model: LanguageModel
) -> None:
    job = accept(erin, many(2 * MAX_TEXTS), embedding_model=model)
    provider.script(vectors(*[[1.0] * 32] * MAX_TEXTS, usage={"prompt_tokens": 10}), hang())
    lost = claim(Import.objects.all())
    assert lost is not None
    with Held(lost) as held:
        original = held.report

        def report(*args: Any, **options: Any) -> None:
            original(*args, force=True)
            Import.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
            sweep_imports()  # somebody takes it over while the first worker goes on
            original(*args, force=True)

        held.report = report  # type: ignore[method-assign]
        with pytest.raises(Stopped):
            imports.IMPORTERS["corpus"](held)
    assert Import.objects.get().state == "pending"
    provider._script.clear()
    job = worked(job)
    assert (job.state, job.attempt, Passage.objects.count()) == ("completed", 2, 2 * MAX_TEXTS)
    first, second = (request.body["input"] for request in provider.requests)
    assert not set(first) & set(second)  # no vector is paid for twice
    rest = 1 + sum(len(text) for text in second) // 4
    assert (job.report["embedding"]["input_tokens"], job.report["passages"]) == (10 + rest, 2 * MAX_TEXTS)
    assert CreditEntry.objects.get(key=f"end:import:{job.pk}").used == charge(10 + rest)
    assert CreditEntry.objects.filter(subject_id=job.pk).count() == 2
    corpus = Corpus.objects.get()
    assert (corpus.size, corpus.dimensions) == (2 * MAX_TEXTS, 32)
    same = services.create_corpus(actor=erin, name="same", passages=[PassageSpec(*row) for row in passages(corpus)])
    assert corpus.content_hash == same.content_hash


def test_what_a_lost_worker_cut_differently_is_replaced(erin: User) -> None:
    job = accept(erin, many(4))
    lost = claim(Import.objects.all())
    assert lost is not None
    rows = [Passage(corpus_id=lost.corpus_id, position=number, text=f"old {number}") for number in range(6)]
    with Held(lost).guard():
        Passage.objects.bulk_create(rows)
    Import.objects.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
    sweep_imports()
    assert worked(job).state == "completed"
    assert [text for _title, text in passages()] == many(4).split("\f")


def test_a_cancelled_import_leaves_nothing_and_charges_what_was_used(
    erin: User, provider: Provider, model: LanguageModel
) -> None:
    job = accept(erin, many(3 * MAX_TEXTS), embedding_model=model)
    original = imports.IMPORTERS["corpus"]

    def cancelled_midway(held: Held[Import]) -> None:
        report = held.report

        def stop_after(progress: Any, **options: Any) -> None:
            report(progress, **options)
            if progress["step"] == 2:
                held._stop = StopReason.CANCELLED
                held.check()

        held.report = stop_after  # type: ignore[method-assign]
        original(held)

    imports.IMPORTERS["corpus"] = cancelled_midway
    try:
        job = worked(job)
    finally:
        imports.IMPORTERS["corpus"] = original
    assert (job.state, len(provider.requests)) == ("cancelled", 1)
    assert nothing_remains()
    assert CreditEntry.objects.get(key=f"end:import:{job.pk}").used == -proven_balance(erin) > 0


# Search


@pytest.fixture
def corpus(erin: User, provider: Provider, model: LanguageModel) -> Corpus:
    texts = ["A lost card is blocked at once.", "Transfers take one day.", "The card arrives in a week.", "Bananas."]
    worked(accept(erin, "\f".join(texts), embedding_model=model))
    return Corpus.objects.get()


def test_passages_are_found_by_words_by_meaning_and_by_both(erin: User, corpus: Corpus, provider: Provider) -> None:
    def found(search: str, query: str = "lost card", k: int = 2) -> list[int]:
        rows = services.search_passages(actor=erin, corpus=corpus, query=query, k=k, search=search)
        assert [row.score for row in rows] == sorted((row.score for row in rows), reverse=True)
        return [row.position for row in rows]

    asked = len(provider.requests)
    assert found("bm25") == [0, 2]
    assert len(provider.requests) == asked
    assert found("vector") == [0, 2]
    assert found("hybrid") == [0, 2]
    assert [request.body["input"] for request in provider.requests[asked:]] == [["lost card"], ["lost card"]]
    assert found("vector", "fruit of no word", k=4)[-1] is not None
    assert found("bm25", "fruit") == []


def test_the_search_by_vectors_is_that_of_the_reference(erin: User, corpus: Corpus) -> None:
    query = np.array(vector_of("the week of a card"))
    query /= np.linalg.norm(query)
    rows = list(Passage.objects.order_by("position"))
    matrix = matrix_of((row.embedding for row in rows), 32)
    expected = sorted(range(len(rows)), key=lambda position: (-float(matrix[position] @ query), position))
    found = services.search_passages(actor=erin, corpus=corpus, query="the week of a card", k=4, search="vector")
    assert [row.position for row in found] == expected
    assert found[0].score == pytest.approx(float(matrix[expected[0]] @ query), abs=1e-5)
    assert (found[0].title, found[0].text, found[0].id) == (
        rows[expected[0]].title, rows[expected[0]].text, rows[expected[0]].pk
    )  # fmt: skip


def test_who_searches_by_meaning_pays_for_it(erin: User, corpus: Corpus) -> None:
    before = proven_balance(erin)
    services.search_passages(actor=erin, corpus=corpus, query="card", search="bm25")
    assert proven_balance(erin) == before
    services.search_passages(actor=erin, corpus=corpus, query="lost card", search="vector")
    assert before - proven_balance(erin) == charge(3)
    line = CreditEntry.objects.filter(kind="settle", subject_kind="corpus").get()
    assert (line.subject_id, line.used) == (corpus.pk, charge(3))


def test_a_search_that_fails_costs_nothing(erin: User, corpus: Corpus, provider: Provider) -> None:
    before = proven_balance(erin)
    provider.script(status(401))
    with pytest.raises(DomainError) as refusal:
        services.search_passages(actor=erin, corpus=corpus, query="lost card", search="hybrid")
    assert refusal.value.code == "embedding_failed"
    assert proven_balance(erin) == before


def test_searches_that_cannot_be_done_are_refused(
    erin: User, alice: User, corpus: Corpus, model: LanguageModel
) -> None:
    plain = services.create_corpus(actor=erin, name="plain", passages=[PassageSpec("", "text")])
    wrong: tuple[tuple[Corpus, dict[str, Any], str], ...] = (
        (plain, {"search": "vector"}, "corpus_without_vectors"),
        (plain, {"search": "hybrid"}, "corpus_without_vectors"),
        (corpus, {"search": "grep"}, "invalid_choice"),
        (corpus, {"k": 0}, "out_of_range"),
        (corpus, {"k": 101}, "out_of_range"),
        (corpus, {"query": "\x00"}, "unstorable_text"),
    )
    for row, changes, code in wrong:
        with pytest.raises(DomainError) as refusal:
            services.search_passages(actor=erin, corpus=row, **{"query": "x", **changes})
        assert refusal.value.code == code
    with pytest.raises(Forbidden):
        services.search_passages(actor=alice, corpus=corpus, query="x")
    LanguageModel.objects.filter(pk=model.pk).update(is_enabled=False)
    with pytest.raises(DomainError, match="not enabled"):
        services.search_passages(actor=erin, corpus=corpus, query="x", search="vector")


def test_a_model_whose_vectors_have_another_length_now_is_refused(
    erin: User, corpus: Corpus, provider: Provider
) -> None:
    provider.script(vectors([1.0, 0.0]))
    with pytest.raises(DomainError) as refusal:
        services.search_passages(actor=erin, corpus=corpus, query="x", search="vector")
    assert refusal.value.code == "corpus_vectors_differ"
    assert "The query has 2 dimensions, the corpus 32." in refusal.value.message


def test_what_is_being_imported_cannot_be_searched(erin: User) -> None:
    accept(erin)
    hidden = Corpus.objects.get()
    with pytest.raises(Conflict, match="still being imported"):
        services.search_passages(actor=erin, corpus=hidden, query="x")
    with pytest.raises(DomainError, match="no such corpus"):
        search_corpus(hidden.pk, "x", 3)
