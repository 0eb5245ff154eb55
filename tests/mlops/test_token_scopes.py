"""What a token leaves of its owner's rights: scopes, and programs by name. Over REST, as whoever holds one meets it."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
from rest_framework.test import APIClient

from executions.models import Execution, Feedback
from mlops.models import ApiToken, User
from mlops.types import Role, Scope
from programs.models import Program
from programs.services import choose_prompt_set
from tests.executions.rows import new_execution
from tests.factories import make_language_model, make_program, make_token, make_user

pytestmark = pytest.mark.django_db


class Rows(NamedTuple):
    """The same of two programs: `triage`, of which tokens are good, and `payroll`."""

    triage: Program
    payroll: Program
    of_triage: Execution
    of_payroll: Execution


@pytest.fixture
def rows(erin: User) -> Rows:
    triage, payroll = (make_program(name=name, status="production") for name in ("triage", "payroll"))
    executions = []
    for program in (triage, payroll):
        execution = new_execution(erin, choose_prompt_set(program, ""))
        execution.save()
        executions.append(execution)
    return Rows(triage, payroll, *executions)


def with_token(user: User, *scopes: str, **limits: Any) -> APIClient:
    client = APIClient()
    raw = make_token(user, scopes=scopes or list(Scope), **limits)[1]
    client.credentials(HTTP_AUTHORIZATION=f"Bearer {raw}")
    return client


def answer_to(client: APIClient, method: str, path: str, body: Any = None) -> tuple[int, str, str]:
    """Status, code of the problem if it is one, and the scope that is said to be missing."""
    response = getattr(client, method)(f"/api/v1/{path}", body)
    content = response.json() if response.content else {}
    return response.status_code, content.get("code", ""), content.get("scope", "")


DESCRIBED: dict[str, Any] = {"description": "said"}


@pytest.mark.parametrize(
    ("method", "path", "body", "scope", "status"),
    [
        ("get", "programs/", None, Scope.READ, 200),
        ("get", "programs/{program}/", None, Scope.READ, 200),
        ("get", "executions/?program=triage", None, Scope.READ, 200),
        ("get", "users/me/", None, Scope.READ, 200),
        ("get", "optimizers/", None, Scope.READ, 200),
        ("post", "executions/{execution}/cancel/", {}, Scope.EXECUTE, 200),
        ("post", "feedback/", {"execution_id": "", "name": "good", "score": 1}, Scope.EXECUTE, 201),
        ("patch", "programs/{program}/", DESCRIBED, Scope.ENGINEER, 200),
        ("post", "programs/{program}/new_version/", {}, Scope.ENGINEER, 201),
        ("post", "tokens/", {"name": "another"}, Scope.ADMIN, 201),
        ("post", "users/", {"username": "new"}, Scope.ADMIN, 201),
        ("patch", "language-models/{model}/", {"timeout_s": 9}, Scope.ADMIN, 200),
    ],
)
def test_each_scope_opens_its_own_verbs_and_no_other(
    rows: Rows, method: str, path: str, body: Any, scope: Scope, status: int
) -> None:
    ids = {"program": rows.triage.pk, "execution": rows.of_triage.pk, "model": make_language_model().pk}
    path = path.format(**ids)
    if body and "execution_id" in body:
        body = {**body, "execution_id": str(rows.of_triage.pk)}
    boss = make_user(Role.ADMIN.value)
    others = [other for other in Scope if other is not scope]

    refused = answer_to(with_token(boss, *others), method, path, body)
    done = answer_to(with_token(boss, scope), method, path, body)

    assert refused == (403, "token_scope_missing", scope.value)
    assert done[:2] == (status, "")


def test_a_scope_gives_nothing_that_the_role_does_not(rows: Rows, alice: User) -> None:
    client = with_token(alice)

    assert answer_to(client, "patch", f"programs/{rows.triage.pk}/", DESCRIBED)[:2] == (
        403,
        "program_change_forbidden",
    )
    assert answer_to(client, "post", "users/", {"username": "new"})[:2] == (403, "user_create_forbidden")
    assert answer_to(client, "get", f"executions/{rows.of_triage.pk}/")[0] == 404


def test_what_cannot_be_seen_is_missing_whatever_the_scope(rows: Rows, alice: User) -> None:
    """That a row is there must not be told by the scope that would be needed."""
    client = with_token(alice, Scope.READ)

    answered = answer_to(client, "post", f"executions/{rows.of_triage.pk}/cancel/", {})

    assert answered[:2] == (404, "execution_not_found")


LISTS = ["programs/", "modules/", "prompt-versions/", "prompt-sets/", "deployments/", "executions/", "feedback/"]


@pytest.mark.parametrize("path", LISTS)
def test_a_restricted_token_lists_what_belongs_to_its_programs(rows: Rows, path: str) -> None:
    boss = make_user(Role.ADMIN.value)
    for execution in (rows.of_triage, rows.of_payroll):
        Feedback.objects.create(execution=execution, user=boss, name="good", score=1)

    everything = with_token(boss).get(f"/api/v1/{path}").json()["results"]
    left = with_token(boss, programs=["triage"]).get(f"/api/v1/{path}").json()["results"]

    assert len(everything) == 2 * len(left) > 0
    assert {row["id"] for row in left} < {row["id"] for row in everything}
    assert str(rows.payroll.pk) not in str(left)
    assert str(rows.of_payroll.pk) not in str(left)


@pytest.mark.parametrize(
    "path", ["datasets/", "corpora/", "metrics/", "language-models/", "prices/", "schedules/", "imports/"]
)
def test_what_belongs_to_no_program_is_not_listed(rows: Rows, erin: User, path: str) -> None:
    make_language_model()

    response = with_token(erin, programs=["triage"]).get(f"/api/v1/{path}")

    assert (response.status_code, response.json()["results"]) == (200, [])


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("get", "programs/{program}/", None, "program_not_found"),
        ("get", "programs/payroll@production/", None, "program_not_found"),
        ("patch", "programs/{program}/", DESCRIBED, "program_not_found"),
        ("post", "programs/{program}/archive/", {}, "program_not_found"),
        ("post", "programs/{program}/new_version/", {}, "program_not_found"),
        ("post", "executions/{execution}/cancel/", {}, "execution_not_found"),
        ("post", "executions/{execution}/replay/", {}, "execution_not_found"),
        ("get", "modules/{module}/", None, "module_not_found"),
        ("patch", "modules/{module}/", {"config": {}}, "module_not_found"),
        ("get", "prompt-versions/{prompt}/", None, "prompt_version_not_found"),
        ("get", "signatures/{signature}/", None, "signature_not_found"),
        ("get", "language-models/{model}/", None, "language_model_not_found"),
        ("get", "users/{somebody}/", None, "user_not_found"),
    ],
)
def test_a_restricted_token_finds_nothing_of_other_programs(
    rows: Rows, bob: User, method: str, path: str, body: Any, code: str
) -> None:
    module = rows.payroll.modules.get()
    path = path.format(
        program=rows.payroll.pk,
        execution=rows.of_payroll.pk,
        module=module.pk,
        prompt=module.prompt_versions.get().pk,
        signature=module.signature_id,
        model=make_language_model().pk,
        somebody=bob.pk,
    )
    before = Program.objects.count(), Execution.objects.filter(state="pending").count()

    answered = answer_to(with_token(make_user(Role.ADMIN.value), programs=["triage"]), method, path, body)

    assert answered == (404, code, "")
    assert (Program.objects.count(), Execution.objects.filter(state="pending").count()) == before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("path", ["", "?wait=1", "events/"])
def test_views_that_wait_find_no_more(rows: Rows, erin: User, path: str) -> None:
    restricted, blind = with_token(erin, programs=["triage"]), with_token(erin, Scope.EXECUTE)

    assert answer_to(restricted, "get", f"executions/{rows.of_payroll.pk}/{path}")[:2] == (404, "execution_not_found")
    assert answer_to(blind, "get", f"executions/{rows.of_triage.pk}/{path}") == (403, "token_scope_missing", "read")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("programs/", {"name": "third"}),
        ("signatures/", {"name": "third", "shorthand": "a -> b"}),
        ("datasets/", {"name": "third", "type": "test", "data": [{"a": "b"}]}),
        ("metrics/", {"name": "third", "kind": "exact_match", "config": {"field": "a"}}),
        ("users/", {"username": "third"}),
        ("language-models/", {"name": "openai/third"}),
    ],
)
def test_a_restricted_token_makes_nothing_that_belongs_to_no_program(rows: Rows, path: str, body: Any) -> None:
    answered = answer_to(with_token(make_user(Role.ADMIN.value), programs=["triage"]), "post", path, body)

    assert answered[:2] == (403, "token_restricted")


def test_a_restricted_token_works_on_its_program_in_all_versions(rows: Rows, erin: User) -> None:
    client = with_token(erin, programs=["triage"])

    made = client.post(f"/api/v1/programs/{rows.triage.pk}/new_version/", {}).json()
    changed = client.patch(f"/api/v1/programs/{made['id']}/", DESCRIBED, headers={"If-Match": "*"})

    assert (made["name"], made["version"]) == ("triage", 2)
    assert changed.status_code == 200, changed.json()
    assert client.get("/api/v1/users/me/").json()["username"] == "erin"
    assert [row["username"] for row in client.get("/api/v1/users/").json()["results"]] == ["erin"]


def test_a_restricted_token_of_an_admin_cannot_give_itself_credits(rows: Rows) -> None:
    boss = make_user(Role.ADMIN.value)

    answered = answer_to(
        with_token(boss, programs=["triage"]), "post", f"users/{boss.pk}/grant_credits/", {"credits": "5"}
    )

    assert answered[:2] == (403, "token_restricted")
    assert not boss.credit_entries.exists()


def test_a_restricted_token_changes_no_signature_but_reads_its_own(rows: Rows, erin: User) -> None:
    client = with_token(erin, programs=["triage"])
    signature = rows.triage.modules.get().signature_id

    assert client.get(f"/api/v1/signatures/{signature}/").status_code == 200
    assert answer_to(client, "post", f"signatures/{signature}/new_version/", {})[:2] == (403, "token_restricted")


def test_a_restricted_token_knows_itself_alone(rows: Rows, erin: User) -> None:
    make_token(erin, name="other")
    client = with_token(erin, programs=["triage"], name="mine")

    assert [row["name"] for row in client.get("/api/v1/tokens/").json()["results"]] == ["mine"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["read", "engineer"]}, "scopes"),
        ({"programs": ["triage", "payroll"]}, "programs"),
        ({"programs": []}, "programs"),
        ({"rate_limit": 11}, "rate_limit"),
        ({"rate_limit": None}, "rate_limit"),
    ],
)
def test_a_token_makes_none_that_may_do_more(rows: Rows, erin: User, body: Any, field: str) -> None:
    client = with_token(erin, Scope.READ, Scope.ADMIN, programs=["triage"], rate_limit=10)

    response = client.post("/api/v1/tokens/", {"name": "more", **body})

    assert response.status_code in (400, 403), response.json()
    if body != {"programs": ["triage", "payroll"]}:
        assert response.json()["code"] == "token_exceeds_own"
        assert [item["field"] for item in response.json()["errors"]] == [field]
    else:
        assert response.json()["code"] == "token_program_unknown"
    assert not ApiToken.objects.filter(name="more").exists()


def test_a_token_makes_others_like_itself_unless_told_to_make_less(rows: Rows, erin: User) -> None:
    client = with_token(erin, Scope.READ, Scope.ADMIN, programs=["triage"], rate_limit=10)

    like = client.post("/api/v1/tokens/", {"name": "like"}).json()
    less = client.post("/api/v1/tokens/", {"name": "less", "scopes": ["read"], "rate_limit": 1}).json()

    assert (like["scopes"], like["programs"], like["rate_limit"]) == (["read", "admin"], ["triage"], 10)
    assert (less["scopes"], less["programs"], less["rate_limit"]) == (["read"], ["triage"], 1)


@pytest.mark.parametrize(
    ("limits", "code", "field"),
    [
        ({"scopes": ["read", "write"]}, "token_scope_unknown", "scopes.1"),
        ({"scopes": []}, "token_useless", "scopes"),
        ({"programs": ["triage", "nobody"]}, "token_program_unknown", "programs.1"),
        ({"programs": ["a\x00b"]}, "unstorable_text", "programs.0"),
        ({"programs": ["triage"] * 101}, "max_length", "programs"),
        ({"rate_limit": 0}, "rate_limit_invalid", "rate_limit"),
        ({"rate_limit": -1}, "rate_limit_invalid", "rate_limit"),
        ({"rate_limit": 10**30}, "rate_limit_invalid", "rate_limit"),
        ({"rate_limit": "many"}, "invalid", "rate_limit"),
    ],
)
def test_wrong_limits_are_refused(rows: Rows, erin: User, limits: Any, code: str, field: str) -> None:
    response = with_token(erin).post("/api/v1/tokens/", {"name": "wrong", **limits})

    assert response.status_code == 400
    problem = response.json()["errors"][0]
    assert (problem["code"], problem["field"]) == (code, field)
    assert not ApiToken.objects.filter(name="wrong").exists()
