"""submit, deploy, archive, roll back: each works, is refused, meets the wrong state and is repeated."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from datasets.models import Corpus
from datasets.services import create_corpus
from datasets.types import PassageSpec
from mlops.errors import Conflict, DomainError, Invalid, NotFound
from mlops.models import User
from programs.models import Deployment, Program, Signature
from programs.services import (
    ModuleInput,
    archive_program,
    before_archiving,
    before_deploying,
    deploy_program,
    lifecycle,
    new_version,
    roll_back_program,
    submit_program,
)
from programs.types import ProgramStatus
from tests.factories import bring_to, make_default_language_model, make_program

DRAFT, TESTING, PRODUCTION, ARCHIVED = (status.value for status in ProgramStatus)
Verb = Callable[..., Program]


def status_of(program: Program) -> str:
    return str(Program.objects.values_list("status", flat=True).get(pk=program.pk))


def next_of(program: Program, status: str = TESTING) -> Program:
    return bring_to(new_version(actor=User(role="admin"), program=program), status)


def test_submitting_freezes_the_corpora_that_are_searched(erin: User) -> None:
    corpus = create_corpus(actor=erin, name="help", passages=[PassageSpec("Refunds", "Within 30 days.")])
    search = ModuleInput("search", "retrieve", config={"corpus": str(corpus.pk)})

    submit_program(actor=erin, program=make_program(modules=[search]))

    assert Corpus.objects.get(pk=corpus.pk).frozen_at is not None


def test_submitting_moves_a_draft_to_testing_and_freezes_its_signatures(erin: User) -> None:
    make_default_language_model()
    program = make_program()

    submit_program(actor=erin, program=program)

    assert status_of(program) == TESTING
    assert Signature.objects.get(modules__program=program).frozen_at is not None
    record = program.history.latest()
    assert (record.history_change_reason, record.history_user) == ("submit", erin)


def test_submitting_reports_every_problem_and_changes_nothing(erin: User) -> None:
    program = make_program(modules=[])

    with pytest.raises(Invalid) as refusal:
        submit_program(actor=erin, program=program)

    assert refusal.value.code == "program_invalid"
    assert [problem.field for problem in refusal.value.problems] == ["modules"]
    assert status_of(program) == DRAFT


def test_deploying_archives_the_former_version_and_leaves_a_row(erin: User) -> None:
    first = make_program(status=PRODUCTION)
    second = next_of(first)

    deploy_program(actor=erin, program=second, reason="better recall")

    assert (status_of(first), status_of(second)) == (ARCHIVED, PRODUCTION)
    row = Deployment.objects.latest("id")
    assert (row.program, row.replaced, row.user, row.reason) == (second, first, erin, "better recall")
    assert Program.objects.get(pk=second.pk).traffic_percentage == 100
    assert Program.objects.get(pk=first.pk).traffic_percentage == 0


def test_rolling_back_deploys_what_the_last_deployment_replaced(erin: User) -> None:
    first = make_program(status=PRODUCTION)
    second = next_of(first, PRODUCTION)

    back = roll_back_program(actor=erin, program=second, reason="worse in the evening")

    assert back == first
    assert (status_of(first), status_of(second)) == (PRODUCTION, ARCHIVED)
    assert Deployment.objects.filter(program=first).latest("id").replaced == second
    assert back.history.latest().history_change_reason == "roll_back"


def test_rolling_back_goes_to_the_version_that_is_named(erin: User) -> None:
    first = make_program(status=PRODUCTION)
    third = next_of(next_of(first, PRODUCTION), PRODUCTION)

    roll_back_program(actor=erin, program=third, to=first)

    assert (status_of(first), status_of(third)) == (PRODUCTION, ARCHIVED)


def test_rolling_back_needs_an_archived_version_of_the_same_name(erin: User) -> None:
    program = make_program(status=PRODUCTION)
    stranger = make_program(status=ARCHIVED)
    draft = new_version(actor=erin, program=program)

    for to in (None, stranger, draft):
        with pytest.raises(Conflict, match="version") as refusal:
            roll_back_program(actor=erin, program=program, to=to)
        assert refusal.value.code == "program_not_rollbackable"
    assert status_of(program) == PRODUCTION


def test_archiving_takes_a_version_out_of_use(erin: User) -> None:
    program = make_program(status=PRODUCTION)

    archive_program(actor=erin, program=program)

    assert status_of(program) == ARCHIVED


@pytest.mark.parametrize(
    ("verb", "status", "code"),
    [
        (submit_program, TESTING, "program_not_submittable"),
        (submit_program, PRODUCTION, "program_not_submittable"),
        (submit_program, ARCHIVED, "program_not_submittable"),
        (deploy_program, DRAFT, "program_not_deployable"),
        (deploy_program, PRODUCTION, "program_not_deployable"),
        (archive_program, ARCHIVED, "program_not_archivable"),
    ],
)
def test_wrong_state_is_refused_and_nothing_changes(erin: User, verb: Verb, status: str, code: str) -> None:
    program = make_program(status=status)
    before = (status_of(program), Deployment.objects.count(), program.history.count())

    with pytest.raises(Conflict) as refusal:
        verb(actor=erin, program=program)

    assert refusal.value.code == code
    assert (status_of(program), Deployment.objects.count(), program.history.count()) == before


@pytest.mark.parametrize(
    ("verb", "status"),
    [
        (submit_program, DRAFT),
        (deploy_program, TESTING),
        (archive_program, TESTING),
        (archive_program, PRODUCTION),
        (roll_back_program, PRODUCTION),
    ],
)
def test_an_ml_user_may_not_and_nothing_changes(charlie: User, verb: Verb, status: str) -> None:
    program = make_program(status=status)
    before = (status_of(program), Deployment.objects.count(), program.history.count())

    with pytest.raises(DomainError) as refusal:
        verb(actor=charlie, program=program)

    # What is not in production does not exist for them.
    assert refusal.value.code.endswith("_forbidden" if status == PRODUCTION else "_not_found")
    assert (status_of(program), Deployment.objects.count(), program.history.count()) == before


def test_an_engineer_outside_the_group_does_not_know_of_the_program(erin: User, group: Any) -> None:
    program = make_program(status=TESTING, group=group)

    with pytest.raises(NotFound):
        deploy_program(actor=erin, program=program)

    erin.groups.add(group)
    assert deploy_program(actor=erin, program=program).status == PRODUCTION


def test_what_has_broken_since_it_was_submitted_cannot_be_deployed(erin: User) -> None:
    model = make_default_language_model()
    program = make_program(status=TESTING)
    type(model).objects.update(is_enabled=False)

    with pytest.raises(Invalid) as refusal:
        deploy_program(actor=erin, program=program)

    assert [problem.code for problem in refusal.value.problems] == ["no_default_language_model"]
    assert status_of(program) == TESTING


def test_an_archived_draft_is_validated_and_frozen_before_it_is_deployed(erin: User) -> None:
    broken = archive_program(
        actor=erin, program=make_program(modules=[ModuleInput(key="one", kind="custom", config={"module": "gone"})])
    )

    with pytest.raises(Invalid):
        deploy_program(actor=erin, program=broken)


class Checks:
    """What a higher app asks before deploying and archiving: it notes the question, and refuses when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[tuple[str, ...]] = []
        self.refuses = False
        monkeypatch.setattr(lifecycle, "deploy_checks", [])
        monkeypatch.setattr(lifecycle, "archive_checks", [])
        before_deploying(self.deploying)
        before_archiving(self.archiving)

    def deploying(self, program: Program, production: Program | None) -> None:
        self._ask("deploy", str(program), f"{production} {production.status}" if production else "")

    def archiving(self, program: Program) -> None:
        self._ask("archive", str(program))

    def _ask(self, *question: str) -> None:
        self.asked.append(question)
        if self.refuses:
            raise Conflict("not_yet", "Something of a higher app is against it.")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    return Checks(monkeypatch)


def test_higher_apps_are_asked_before_a_version_is_deployed(erin: User, checks: Checks) -> None:
    first = make_program(name="triage", status=TESTING)
    deploy_program(actor=erin, program=first)
    second = next_of(first)
    deploy_program(actor=erin, program=second)

    # The archiving of the first one belongs to the deployment and is asked about by nobody.
    assert checks.asked == [("deploy", "triage@1", ""), ("deploy", "triage@2", "triage@1 production")]


def test_what_a_higher_app_refuses_is_not_deployed(erin: User, checks: Checks) -> None:
    first = make_program(status=PRODUCTION)
    second = next_of(first)
    checks.refuses = True

    with pytest.raises(Conflict) as refusal:
        deploy_program(actor=erin, program=second)

    assert refusal.value.code == "not_yet"
    assert (status_of(first), status_of(second)) == (PRODUCTION, TESTING)
    assert not Deployment.objects.filter(program=second).exists()


def test_a_roll_back_asks_nobody(erin: User, checks: Checks) -> None:
    first = make_program(status=PRODUCTION)
    second = next_of(first, PRODUCTION)
    checks.asked.clear()
    checks.refuses = True

    roll_back_program(actor=erin, program=second)

    assert (status_of(first), status_of(second)) == (PRODUCTION, ARCHIVED)
    assert checks.asked == []


def test_what_a_higher_app_refuses_is_not_archived(erin: User, checks: Checks) -> None:
    program = make_program(name="triage", status=TESTING)
    checks.refuses = True

    with pytest.raises(Conflict) as refusal:
        archive_program(actor=erin, program=program)

    assert refusal.value.code == "not_yet"
    assert status_of(program) == TESTING
    assert checks.asked == [("archive", "triage@1")]
