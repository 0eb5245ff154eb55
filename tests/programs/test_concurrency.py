"""Verbs that race, on the database that the tests run on: a file of SQLite or PostgreSQL."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connections

from mlops.errors import Conflict
from mlops.models import User
from programs.models import Deployment, Program, PromptSet, PromptVersion
from programs.services import (
    activate_prompt_version,
    choose_prompt_set,
    create_program,
    create_prompt_version,
    deploy_program,
    new_signature_version,
    new_version,
)
from tests.factories import bring_to, make_program, make_signature

pytestmark = pytest.mark.django_db(transaction=True)
RACERS = 4
Race = Callable[[list[Callable[[], object]]], list[object]]


@pytest.fixture
def race() -> Race:
    """Run the calls at once, each on a connection of its own; a refusal is a result."""

    def run(calls: list[Callable[[], object]]) -> list[object]:
        gate = threading.Barrier(len(calls))

        def one(call: Callable[[], object]) -> object:
            try:
                gate.wait(timeout=30)
                return call()
            except Conflict as refusal:
                return refusal.code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(len(calls)) as pool:
            return list(pool.map(one, calls))

    return run


def test_of_deployments_at_once_exactly_one_is_in_production(erin: User, race: Race) -> None:
    first = make_program(name="triage", status="production")
    others = [bring_to(new_version(actor=erin, program=first), "testing") for _ in range(RACERS)]

    race([lambda program=program: deploy_program(actor=erin, program=program) for program in others])  # type: ignore[misc]

    statuses = list(Program.objects.filter(name="triage").values_list("status", flat=True))
    assert (statuses.count("production"), statuses.count("archived")) == (1, RACERS)
    winner = Program.objects.get(status="production")
    rows = list(Deployment.objects.all())
    assert len(rows) == RACERS + 1
    assert rows[0].program == winner
    # Each deployment replaced the one before it: none was lost.
    assert [row.replaced_id for row in rows[:-1]] == [row.program_id for row in rows[1:]]


def test_one_version_is_deployed_once(erin: User, race: Race) -> None:
    program = make_program(status="testing")

    results = race([lambda: deploy_program(actor=erin, program=program)] * RACERS)

    assert results.count("program_not_deployable") == RACERS - 1
    assert Deployment.objects.count() == 1


def test_new_versions_at_once_get_different_numbers(erin: User, race: Race) -> None:
    program = make_program()
    signature = make_signature()

    race([lambda: new_version(actor=erin, program=program)] * RACERS)
    race([lambda: new_signature_version(actor=erin, signature=signature)] * RACERS)

    expected = list(range(1, RACERS + 2))
    assert sorted(Program.objects.values_list("version", flat=True)) == expected
    assert sorted(type(signature).objects.filter(name=signature.name).values_list("version", flat=True)) == expected


def test_a_name_is_taken_by_one(erin: User, race: Race) -> None:
    results = race([lambda: create_program(actor=erin, name="triage")] * RACERS)

    assert results.count("program_exists") == RACERS - 1
    assert Program.objects.count() == 1


def test_first_executions_at_once_share_one_prompt_set(erin: User, race: Race) -> None:
    program = make_program(status="production")

    race([lambda: choose_prompt_set(program)] * RACERS)

    assert PromptSet.objects.get().versions.get() == PromptVersion.objects.get()


def test_traffic_stays_with_one_version_when_several_are_activated(erin: User, race: Race) -> None:
    module = make_program().modules.get()
    versions = [create_prompt_version(actor=erin, module=module, prompt_template=str(n)) for n in range(RACERS)]

    race([lambda v=version: activate_prompt_version(actor=erin, prompt_version=v) for version in versions])  # type: ignore[misc]

    assert sorted(module.prompt_versions.values_list("traffic_percentage", flat=True)) == [0] * RACERS + [100]
