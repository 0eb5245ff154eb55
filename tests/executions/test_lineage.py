"""What an execution came from, and which executions something went into."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from datasets.models import Dataset, Example
from executions.models import Execution
from mlops.models import LanguageModel, User
from mlops.types import Role
from optimizations.models import Optimization
from programs.models import Demo, Program, PromptVersion
from programs.services import create_prompt_version, deploy_program, new_version, submit_program
from programs.services.demos import digest_of_demo
from programs.services.prompts import activate_prompt_version, choose_prompt_set, ensure_prompt_set
from programs.types import EXAMPLE_MARK
from tests.conftest import api_of
from tests.factories import make_price, make_user
from tests.optimizations import compiling

pytestmark = pytest.mark.django_db

LIST = "/api/v1/executions/"


@pytest.fixture
def model() -> LanguageModel:
    return compiling.matcher()


@pytest.fixture
def dataset(erin: User) -> Dataset:
    return compiling.make_dataset(erin, 6, name="intents")


@pytest.fixture
def program(erin: User, model: LanguageModel) -> Program:
    return deploy_program(actor=erin, program=compiling.make_program(erin, name="triage"))


def demo_of(example: Example) -> dict[str, Any]:
    return {**example.data, EXAMPLE_MARK: str(example.pk)}


def with_demos(actor: User, program: Program, *demos: dict[str, Any], **source: Any) -> PromptVersion:
    """The program's prompt version with these demos, which executions use from now on."""
    version = create_prompt_version(
        actor=actor, module=program.modules.get(), prompt_template="Say it.", demos=demos, **source
    )
    return activate_prompt_version(actor=actor, prompt_version=version)


def executed(user: User, program: Program, **fields: Any) -> Execution:
    return Execution.objects.create(
        user=user,
        program=program,
        prompt_set=choose_prompt_set(program),
        mode="sync",
        source="rest",
        state="completed",
        **fields,
    )


def lineage(actor: User, execution: Execution) -> dict[str, Any]:
    answer = api_of(actor).get(f"{LIST}{execution.pk}/lineage/")
    assert answer.status_code == 200, answer.content
    found: dict[str, Any] = answer.json()
    return found


def listed(actor: User, **query: Any) -> list[str]:
    answer = api_of(actor).get(LIST, {name: str(value) for name, value in query.items()})
    assert answer.status_code == 200, answer.content
    return [row["id"] for row in answer.json()["results"]]


def compiled(erin: User, program: Program, dataset: Dataset) -> tuple[Program, Optimization]:
    """A deployed version whose prompts a compile job found."""
    validation = compiling.make_dataset(erin, 6, type="validation", offset=50)
    job = compiling.start(erin, program=program, dataset=dataset, validation_set=validation, params={"k": 3})
    candidate = job.candidates.create(number=1, label="demos", digest="d", score=0.5, is_best=True)
    made = new_version(actor=erin, program=program)
    demos = [demo_of(example) for example in dataset.examples.order_by("position")[:3]]
    with_demos(erin, made, *demos, source_kind="candidate", source_id=candidate.pk)
    return deploy_program(actor=erin, program=submit_program(actor=erin, program=made)), job


def test_a_lineage_names_all_that_an_execution_came_from(
    erin: User, alice: User, program: Program, dataset: Dataset, model: LanguageModel
) -> None:
    made, job = compiled(erin, program, dataset)
    price = make_price(model, cache_write_price=500_000, request_price=2_500_000_000, input_limit=200_000)
    parameters = {model.name: {"parameters": {"temperature": 0.5}}}
    execution = executed(alice, made, prices=[str(price.pk)], language_models=parameters)
    prompt, candidate = made.modules.get().prompt_versions.get(traffic_percentage=100), job.candidates.get()

    found = lineage(erin, execution)

    assert found["execution_id"] == str(execution.pk)
    assert found["program"] == {"id": str(made.pk), "name": "triage", "version": 2, "status": "production"}
    assert found["prompt_set"]["id"] == str(execution.prompt_set_id)
    assert [(one["id"], one["module"], one["source_kind"]) for one in found["prompts"]] == [
        (str(prompt.pk), "classify", "candidate")
    ]
    examples = [str(key) for key in dataset.examples.order_by("position").values_list("pk", flat=True)[:3]]
    assert [demo["example"] for demo in found["prompts"][0]["demos"]] == examples
    assert {demo["dataset"] for demo in found["prompts"][0]["demos"]} == {str(dataset.pk)}
    assert found["optimizations"] == [
        {
            "id": str(job.pk),
            "optimizer": "labeled_few_shot",
            "candidate_id": str(candidate.pk),
            "candidate": "#1 demos",
            "score": 0.5,
            "dataset_id": str(dataset.pk),
            "validation_set_id": str(job.validation_set_id),
            "metric_id": str(job.metric_id),
            "prompt_versions": [str(prompt.pk)],
        }
    ]
    assert {one["id"] for one in found["datasets"]} == {str(job.dataset_id), str(job.validation_set_id)}
    assert job.dataset_id == dataset.pk
    assert [one["id"] for one in found["metrics"]] == [str(job.metric_id)]
    assert found["prices"] == [
        {
            "id": str(price.pk),
            "language_model": model.name,
            "valid_from": f"{price.valid_from:%Y-%m-%dT%H:%M:%S.%fZ}",
            "input_price": "0.4",
            "cached_input_price": "0.1",
            "output_price": "1.6",
            "cache_write_price": "0.5",
            "reasoning_price": None,
            "request_price": "0.0025",
            "input_limit": 200_000,
            "source": "",
            "source_date": None,
        }
    ]
    assert found["language_models"] == parameters


def test_an_execution_is_found_by_all_that_went_into_it(
    erin: User, alice: User, program: Program, dataset: Dataset
) -> None:
    before = executed(alice, program)
    first, second, third, *_rest = dataset.examples.order_by("position")
    one = with_demos(erin, program, demo_of(first), demo_of(second))
    with_one = executed(alice, program)
    two = with_demos(erin, program, demo_of(second))
    with_two = executed(alice, program)
    by_hand = with_demos(erin, program, dict(first.data))
    copied = executed(alice, program)

    assert listed(erin, prompt_version=one.pk) == [str(with_one.pk)]
    assert listed(erin, prompt_version=two.pk) == [str(with_two.pk)]
    assert listed(erin, example=first.pk) == [str(with_one.pk)]
    assert listed(erin, example=second.pk) == [str(with_two.pk), str(with_one.pk)]
    assert listed(erin, example=third.pk) == []
    assert listed(erin, dataset=dataset.pk) == [str(with_two.pk), str(with_one.pk)]
    # an equal demo is the same demo, whether it was made of an example or written by hand
    assert listed(erin, demo=digest_of_demo(first.data)) == [str(copied.pk), str(with_one.pk)]
    assert listed(erin, example=second.pk, prompt_version=two.pk) == [str(with_two.pk)]
    assert by_hand.demo_rows.get().example is None
    assert str(before.pk) in listed(erin)
    for name in ("prompt_version", "example", "dataset"):
        assert listed(erin, **{name: uuid4()}) == []
        assert api_of(erin).get(LIST, {name: "x"}).status_code == 400
    assert listed(erin, demo="x") == []


def test_an_execution_is_found_by_the_datasets_of_a_compile_without_demos(
    erin: User, alice: User, program: Program, dataset: Dataset
) -> None:
    """As it names them itself, so they name it: instructions have no demos that would lead there."""
    before = executed(alice, program)
    validation = compiling.make_dataset(erin, 6, type="validation", offset=50)
    unused = compiling.make_dataset(erin, 6, name="unused", offset=100)
    job = compiling.start(erin, program=program, dataset=dataset, validation_set=validation, params={"k": 3})
    candidate = job.candidates.create(number=1, label="instructions", digest="d", score=0.5, is_best=True)
    with_demos(erin, program, source_kind="candidate", source_id=candidate.pk)
    execution = executed(alice, program)

    named = {one["id"] for one in lineage(erin, execution)["datasets"]}
    assert named == {str(dataset.pk), str(validation.pk)}
    for one in (dataset, validation):
        assert listed(erin, dataset=one.pk) == [str(execution.pk)]
        assert listed(alice, dataset=one.pk) == []
    assert listed(erin, dataset=unused.pk) == []

    made = new_version(actor=erin, program=program)  # whose prompt is a copy
    later = executed(alice, deploy_program(actor=erin, program=submit_program(actor=erin, program=made)))
    assert listed(erin, dataset=dataset.pk) == [str(later.pk), str(execution.pk)]
    assert str(before.pk) not in listed(erin, dataset=dataset.pk)

    Program.objects.filter(name=program.name).update(group=Group.objects.create(name="inside"))
    assert listed(make_user(Role.ML_ENGINEER.value), dataset=dataset.pk) == []


def test_backward_lists_are_read_by_pages(erin: User, alice: User, program: Program, dataset: Dataset) -> None:
    first = dataset.examples.order_by("position")[0]
    made = []
    for turn in range(6):
        if turn % 2 == 0:
            with_demos(erin, program, demo_of(first), {"message": f"turn {turn}", "intent": "card"})
        made.append(str(executed(alice, program).pk))
    seen: list[str] = []
    address = f"{LIST}?example={first.pk}&page_size=4"
    while address:
        page = api_of(erin).get(address).json()
        seen += [row["id"] for row in page["results"]]
        address = page["next"]
    assert seen == made[::-1]


def test_what_a_reader_may_not_see_is_left_out(
    erin: User, alice: User, bob: User, program: Program, dataset: Dataset, model: LanguageModel
) -> None:
    made, job = compiled(erin, program, dataset)
    execution = executed(alice, made, prices=[str(make_price(model).pk)])
    example = dataset.examples.order_by("position")[0]

    own = lineage(alice, execution)
    assert own["program"]["version"] == 2
    assert [one["module"] for one in own["prompts"]] == ["classify"]
    assert {(demo["example"], demo["dataset"]) for demo in own["prompts"][0]["demos"]} == {(None, None)}
    assert (own["optimizations"], own["datasets"], own["metrics"], own["prices"]) == ([], [], [], [])
    assert api_of(bob).get(f"{LIST}{execution.pk}/lineage/").status_code == 404
    for secret in (dataset.pk, example.pk, job.pk):
        assert str(secret) not in str(own)
    assert listed(alice, example=example.pk) == listed(alice, dataset=dataset.pk) == []
    assert listed(bob, prompt_version=own["prompts"][0]["id"]) == []

    outside = make_user(Role.ML_ENGINEER.value)
    made.group = Group.objects.create(name="inside")
    made.save()
    Program.objects.filter(name=made.name).update(group=made.group)
    assert listed(outside, example=example.pk) == []
    assert api_of(outside).get(f"{LIST}{execution.pk}/lineage/").status_code == 404


def test_the_owner_keeps_the_name_of_a_program_that_is_gone_from_sight(
    erin: User, alice: User, program: Program
) -> None:
    execution = executed(alice, program)
    made = new_version(actor=erin, program=program)
    deploy_program(actor=erin, program=submit_program(actor=erin, program=made))
    found = lineage(alice, execution)
    assert (found["program"]["name"], found["program"]["version"]) == ("triage", 1)
    assert (found["prompt_set"], found["prompts"]) == (None, [])


def test_the_number_of_queries_does_not_grow(erin: User, alice: User, program: Program, dataset: Dataset) -> None:
    counts = []
    for size in (1, 6):
        demos = [demo_of(example) for example in dataset.examples.order_by("position")[:size]]
        version = with_demos(erin, program, *demos)
        for _ in range(size):
            execution = executed(alice, program)
        client = api_of(erin)
        client.get("/api/v1/users/me/")
        with CaptureQueriesContext(
            connection,
        ) as forwards:
            assert len(client.get(f"{LIST}{execution.pk}/lineage/").json()["prompts"][0]["demos"]) == size
        with CaptureQueriesContext(connection) as backwards:
            assert len(client.get(LIST, {"prompt_version": str(version.pk)}).json()["results"]) == size
        counts.append((len(forwards), len(backwards)))
    assert counts[0] == counts[1]


def test_versions_of_a_program_keep_the_demos_of_their_prompts(erin: User, program: Program, dataset: Dataset) -> None:
    first = dataset.examples.order_by("position")[0]
    with_demos(erin, program, demo_of(first), {"message": "by hand", "intent": "card", EXAMPLE_MARK: str(uuid4())})
    copied = new_version(actor=erin, program=program).modules.get().prompt_versions.get()
    assert list(copied.demo_rows.values_list("position", "example")) == [(0, first.pk), (1, None)]
    assert Demo.objects.filter(digest=digest_of_demo(first.data)).count() == 2


def test_a_set_of_several_prompt_versions_is_found_by_each(erin: User, alice: User, program: Program) -> None:
    one, two = (with_demos(erin, program, {"message": name, "intent": "card"}) for name in ("a", "b"))
    both = ensure_prompt_set(program=program, versions=[one.pk, two.pk])
    execution = executed(alice, program)
    Execution.objects.filter(pk=execution.pk).update(prompt_set=both)
    assert listed(erin, prompt_version=one.pk) == listed(erin, prompt_version=two.pk) == [str(execution.pk)]


def test_the_admin_site_shows_both_directions(erin: User, alice: User, program: Program, dataset: Dataset) -> None:
    made, job = compiled(erin, program, dataset)
    used = {"openai/m": {"parameters": {"temperature": 0.5}, "api_base": "llm.example"}}
    execution = executed(alice, made, language_models=used)
    other = executed(alice, program)
    prompt = made.modules.get().prompt_versions.get(traffic_percentage=100)
    example = prompt.demo_rows.get(position=0).example
    assert example is not None
    browser = Client()
    browser.force_login(erin)

    page = browser.get(f"/admin/executions/execution/{execution.pk}/change/").content.decode()
    for part in (
        f"/admin/programs/promptversion/{prompt.pk}/change/",
        f"/admin/datasets/example/{example.pk}/change/",
        f"/admin/datasets/dataset/{dataset.pk}/change/",
        f"/admin/optimizations/optimization/{job.pk}/change/",
        "openai/m, temperature = 0.5 (llm.example)",
    ):
        assert part in page
    uses = f"/admin/executions/execution/?demo={digest_of_demo(example.data)}"
    assert uses in page
    users = browser.get(uses).content.decode()
    assert f"/admin/executions/execution/{execution.pk}/change/" in users
    assert f"/admin/executions/execution/{other.pk}/change/" not in users
    assert f"/admin/executions/execution/{other.pk}/change/" not in browser.get(f"{uses[:-1]}x").content.decode()
    for address in (
        f"programs/promptversion/{prompt.pk}",
        f"datasets/example/{example.pk}",
        f"datasets/dataset/{dataset.pk}",
    ):
        assert (
            f"/admin/executions/execution/{execution.pk}/change/"
            in browser.get(f"/admin/{address}/change/").content.decode()
        )
