"""Programs that search by meaning: the query is embedded, metered, recorded and paid for as part of the execution."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.core.files.base import ContentFile
from pytest_django import Settings

from datasets.models import Corpus
from datasets.services import create_corpus, import_corpus
from datasets.services.imports import work_imports
from datasets.types import PassageSpec
from executions.errors import price_unknown
from executions.models import Execution
from executions.services.execute import execute_program
from executions.services.ports import search_here
from mlops.errors import DomainError, InsufficientCredits, Invalid
from mlops.models import LanguageModel, User
from mlops.runtime.recorder import Recorder, recording
from mlops.selectors import forget_language_models, proven_balance
from mlops.services.credits import credits_for
from mlops.services.history import operator
from programs.models import Program
from programs.services import ModuleInput, create_program, deploy_program, submit_program, validate_program
from tests.executions.programs import provided_model
from tests.factories import make_signature, make_user
from tests.fakes import fields
from tests.provider import Provider, status, text, vectors
from tests.provider.answers import vector_of

pytestmark = pytest.mark.django_db(transaction=True)

DOCUMENTS = "Goods go back within thirty days.\fThe shop opens at nine.\fWe take cards and invoices."


@pytest.fixture(autouse=True)
def _own_storage(settings: Settings, tmp_path: Path) -> None:
    settings.MEDIA_ROOT = tmp_path


@pytest.fixture
def embedding_model(provider: Provider) -> LanguageModel:
    provided_model(provider)
    return provided_model(
        provider, name="openai/vectors", kind="embedding", is_default=True, price={"input_price": 5_000_000}
    )


@pytest.fixture
def corpus(erin: User, embedding_model: LanguageModel) -> Corpus:
    file = ContentFile(DOCUMENTS.encode(), "handbook.txt")
    import_corpus(actor=erin, name="handbook", file=file, embedding_model=embedding_model)
    assert work_imports() == 1
    return Corpus.objects.get()


def draft(corpus: Corpus, search: str, k: int = 1) -> Program:
    config = {"corpus": str(corpus.pk), "k": k, "search": search, "input": "question", "output": "passages"}
    answer = ModuleInput("answer", "predict", make_signature("question: str, passages: list[str] -> answer: str"))
    modules = [ModuleInput("search", "retrieve", None, config), answer]
    return create_program(actor=operator(), name="sourced", modules=modules)


def deployed(corpus: Corpus, search: str) -> Program:
    program = submit_program(actor=operator(), program=draft(corpus, search))
    return deploy_program(actor=operator(), program=program)


def execute(actor: User) -> Execution:
    execution = execute_program(actor=actor, program="sourced", input={"question": "When opens the shop?"})
    return Execution.objects.get(pk=execution.pk)


def spans_of(row: Execution) -> list[dict[str, Any]]:
    assert row.trace is not None
    spans: list[dict[str, Any]] = row.trace["spans"]
    return spans


@pytest.mark.parametrize("search", ["vector", "hybrid"])
def test_the_query_is_embedded_recorded_and_charged(provider: Provider, corpus: Corpus, search: str) -> None:
    deployed(corpus, search)
    user = make_user(credits=1_000)
    before, asked = proven_balance(user), len(provider.requests)
    provider.script(vectors(vector_of("the shop opens"), usage={"prompt_tokens": 7}), text(fields(answer="At nine.")))

    row = execute(user)

    assert (row.state, row.output) == ("completed", {"answer": "At nine."})
    module, retriever, embedding, _answer, llm = spans_of(row)
    assert [span["kind"] for span in (module, retriever, embedding, llm)] == ["module", "retriever", "embedding", "llm"]
    assert embedding["parent"] == retriever["id"]
    assert retriever["input"]["search"] == search
    assert retriever["output"] == ["handbook: The shop opens at nine."]
    assert (embedding["model"], embedding["cost"], embedding["usage"]["total"]) == ("openai/vectors", 35_000_000, 7)
    assert row.cost == 35_000_000 + llm["cost"]
    assert row.token_usage["by_model"]["openai/vectors"]["input"] == 7
    assert "openai/vectors" in row.language_models
    assert row.credits_used == credits_for(row.cost or 0) == before - proven_balance(user)
    assert [request.body.get("input") for request in provider.requests[asked:]] == [["When opens the shop?"], None]


def test_a_search_by_words_asks_nobody(provider: Provider, corpus: Corpus) -> None:
    deployed(corpus, "bm25")
    asked = len(provider.requests)
    row = execute(make_user(credits=1_000))
    assert row.state == "completed"
    assert [span["kind"] for span in spans_of(row)] == ["module", "retriever", "module", "llm"]
    assert len(provider.requests) == asked + 1


def test_a_provider_that_does_not_embed_fails_the_execution_in_its_own_words(
    provider: Provider, corpus: Corpus
) -> None:
    deployed(corpus, "vector")
    provider.script(status(401))
    row = execute(make_user(credits=1_000))
    assert (row.state, row.error_code, row.error_module) == ("failed", "authentication", "search")
    assert "refused the credentials" in row.error_message
    assert (row.cost, row.credits_used) == (0, 0)


def test_a_program_whose_query_has_no_price_is_refused_like_any_other(
    provider: Provider, corpus: Corpus, embedding_model: LanguageModel
) -> None:
    deployed(corpus, "hybrid")
    embedding_model.prices.all().delete()
    forget_language_models()
    with pytest.raises(InsufficientCredits) as refusal:
        execute(make_user(credits=1_000))
    assert refusal.value.code == price_unknown().code


def test_a_corpus_without_vectors_is_a_problem_of_the_program(corpus: Corpus, embedding_model: LanguageModel) -> None:
    plain = create_corpus(actor=operator(), name="plain", passages=[PassageSpec("", "text")])
    program = draft(plain, "vector")
    (problem,) = validate_program(actor=operator(), program=program)
    assert (problem.code, problem.field) == ("corpus_without_vectors", "modules.search.config.search")
    with pytest.raises(Invalid):
        submit_program(actor=operator(), program=program)
    program.delete()
    assert validate_program(actor=operator(), program=draft(corpus, "vector")) == []
    LanguageModel.objects.filter(pk=embedding_model.pk).update(is_enabled=False, is_default=False)
    (problem,) = validate_program(actor=operator(), program=Program.objects.get())
    assert (problem.code, problem.field) == ("language_model_disabled", "modules.search.config.search")


def test_a_search_of_no_known_kind_is_refused(corpus: Corpus) -> None:
    with pytest.raises(DomainError) as refusal:
        draft(corpus, "grep")
    assert refusal.value.code == "config_invalid"


def test_optimizers_search_without_an_event_loop_and_are_metered_too(provider: Provider, corpus: Corpus) -> None:
    recorder = Recorder()
    with recording(recorder):
        found = search_here(str(corpus.pk), "the shop opens at nine", 2, "hybrid")
    assert found[0] == "handbook: The shop opens at nine."
    assert (recorder.cost, [span.kind.value for span in recorder.spans]) == (6 * 5_000_000, ["embedding"])
    with recording(recorder):
        assert search_here(str(corpus.pk), "shop", 2, "bm25") == ["handbook: The shop opens at nine."]
    assert len(recorder.spans) == 1
