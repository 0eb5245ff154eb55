"""The sample workspace: complete, loaded once however often it is asked for, and true to its texts."""

from __future__ import annotations

from io import StringIO

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db.models import Model
from pytest_django import Settings

from config.sample import loading, texts
from config.sample.programs import INTENTS, URGENCIES
from datasets import services as datasets
from datasets.models import Corpus, Dataset
from datasets.types import DatasetType
from mlops.models import LanguageModel, User
from mlops.selectors import proven_balance
from mlops.services.history import operator
from mlops.types import MATCHER_NAME, MICRO_PER_CREDIT, Role
from programs import services as programs
from programs.models import Module, Program, Signature
from programs.types import ProgramStatus


@pytest.fixture(autouse=True)
def _matcher_is_default(settings: Settings) -> None:
    """Otherwise the keys and the Ollama of whoever runs the tests would choose."""
    settings.SIGNET_LANGUAGE_MODEL = MATCHER_NAME


def load() -> tuple[list[str], loading.Credentials | None]:
    said: list[str] = []
    return said, loading.load_sample(said.append)


def rows_of(*labels: str) -> dict[str, set[object]]:
    """Every row of these apps, history included, by table."""
    models: list[type[Model]] = [model for label in labels for model in apps.get_app_config(label).get_models()]
    return {model.__name__: set(model._default_manager.values_list("pk", flat=True)) for model in models}


@pytest.mark.django_db
def test_everything_is_there() -> None:
    load()
    sizes = {row.type: row.size for row in Dataset.objects.filter(name=loading.MESSAGES)}
    assert sum(sizes.values()) == 932
    assert sizes[DatasetType.TEST] >= 200
    assert Corpus.objects.get(name=loading.KNOWLEDGE).passages.count() == 57
    assert dict(Program.objects.values_list("name", "status")) == {
        "triage": ProgramStatus.PRODUCTION,
        "answer_with_sources": ProgramStatus.PRODUCTION,
        "assistant": ProgramStatus.TESTING,
    }


@pytest.mark.django_db
def test_every_program_is_valid() -> None:
    load()
    assert [programs.validate_program(actor=operator(), program=program) for program in Program.objects.all()] == [
        [],
        [],
        [],
    ]


@pytest.mark.django_db
def test_loading_twice_changes_nothing() -> None:
    load()
    before = rows_of("mlops", "datasets", "programs")
    assert load() == ([], None)
    assert rows_of("mlops", "datasets", "programs") == before


@pytest.mark.django_db
def test_what_is_missing_is_completed_and_what_is_there_stays() -> None:
    corpus = datasets.create_corpus(actor=operator(), name=loading.KNOWLEDGE, passages=texts.passages()[:3])
    foreign = programs.create_signature(actor=operator(), name="triage", shorthand="text -> label")
    load()
    assert Corpus.objects.get() == corpus
    assert Program.objects.get(name="answer_with_sources").modules.get(key="search").config["corpus"] == str(corpus.pk)
    assert Module.objects.filter(program__name="triage", signature__name="triage", signature__version=2).exists()
    assert [field.name for field in foreign.fields.all()] == ["text", "label"]


@pytest.mark.django_db
def test_a_dataset_that_was_deleted_comes_back_alone() -> None:
    load()
    kept = set(Dataset.objects.exclude(type=DatasetType.TEST).values_list("pk", flat=True))
    datasets.delete_dataset(actor=operator(), dataset=Dataset.objects.get(type=DatasetType.TEST))
    load()
    assert Dataset.objects.count() == 3
    assert set(Dataset.objects.exclude(type=DatasetType.TEST).values_list("pk", flat=True)) == kept


@pytest.mark.django_db
def test_a_load_that_breaks_leaves_no_half_program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loading, "KNOWLEDGE", "Not A Name")
    with pytest.raises(Exception, match="name starts"):
        load()
    assert not User.objects.exists()
    assert not Dataset.objects.exists()
    assert not Signature.objects.exists()


@pytest.mark.django_db
def test_people_have_roles_credits_and_only_the_admin_a_password() -> None:
    _said, credentials = load()
    assert credentials is not None
    admin = User.objects.get(username=credentials.username)
    assert (admin.role, admin.check_password(credentials.password)) == (Role.ADMIN, True)
    user = User.objects.get(username=loading.USER)
    assert (user.role, user.has_usable_password()) == (Role.ML_USER, False)
    assert not User.objects.get(username=loading.ENGINEER).has_usable_password()
    assert user.ml_credits == proven_balance(user) == loading.CREDITS * MICRO_PER_CREDIT


@pytest.mark.django_db
def test_an_installation_with_an_admin_gets_no_second_one(admin: User) -> None:
    assert load()[1] is None
    assert list(User.objects.filter(role=Role.ADMIN)) == [admin]


@pytest.mark.django_db
def test_the_matcher_costs_nothing_and_gives_way_to_the_model_that_is_asked_for(settings: Settings) -> None:
    settings.SIGNET_LANGUAGE_MODEL = "openai/gpt-4.1-mini"
    load()
    matcher = LanguageModel.objects.get(name=MATCHER_NAME)
    price = matcher.prices.get()
    assert (price.input_price, price.cached_input_price, price.output_price) == (0, 0, 0)
    assert not matcher.is_default
    assert LanguageModel.objects.get(is_default=True).name == "openai/gpt-4.1-mini"


@pytest.mark.django_db
def test_triage_is_a_first_version_without_demos_and_the_corpus_cannot_be_deleted() -> None:
    load()
    program = Program.objects.get(name="triage")
    assert (program.version, program.status) == (1, "production")
    assert programs.choose_prompt_set(program).versions.get().demos == []
    assert Corpus.objects.get().frozen_at is not None


@pytest.mark.django_db
def test_the_command_shows_the_login_once() -> None:
    first, second = StringIO(), StringIO()
    call_command("load_sample", stdout=first)
    call_command("load_sample", stdout=second)
    assert "Log in as admin" in first.getvalue()
    assert second.getvalue() == "The sample workspace is complete.\n"


def test_no_training_message_is_a_test_message() -> None:
    trained = {row.message for row in texts.messages(DatasetType.TRAINING)}
    assert not trained & {row.message for row in texts.messages(DatasetType.TEST)}


@pytest.mark.parametrize("split", list(DatasetType))
def test_every_split_has_every_label_and_no_other(split: DatasetType) -> None:
    rows = texts.messages(split)
    assert {row.intent for row in rows} == set(INTENTS)
    assert {row.urgency for row in rows} == set(URGENCIES)


def test_every_question_names_the_passage_that_answers_it() -> None:
    passages = {passage.title: passage.text for passage in texts.passages()}
    for question in texts.questions():
        words = {word.strip(".,").lower() for word in question.answer.split()}
        said = {word.strip('.,;:"').lower() for word in passages[question.title].split()}
        assert words & said, question
