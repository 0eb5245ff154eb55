"""The foundation's records over GraphQL."""

from __future__ import annotations

import graphene
import pytest
from django_filters import CharFilter

from mlops.filters import UserFilter
from mlops.graphql.queries import Query
from mlops.models import ApiToken, CreditEntry, LanguageModel, User
from mlops.services.budgets import create_budget
from mlops.services.language_models import set_fallbacks, set_secret
from mlops.types import MICRO_PER_CREDIT, PICO_PER_USD
from tests.conftest import api_of
from tests.factories import make_language_model, make_price, make_token, make_user
from tests.graphql import asked, codes_of, data_of, nodes, queries_for

pytestmark = pytest.mark.django_db

MODELS = """{ listLanguageModels { edges { node { name hasSecret fallbacks prices { edges { node {
    inputPrice requestPrice languageModel { name } } } } } } } }"""
BUDGETS = "{ listBudgets { edges { node { limit scope user { username } present { spent left percent } } } } }"


def test_language_models_with_fallbacks_and_prices_take_as_many_queries_for_six_as_for_two(admin: User) -> None:
    models = [make_language_model() for _ in range(2)]
    make_price(models[0])
    few = queries_for(admin, MODELS)
    models += [make_language_model() for _ in range(4)]
    for model in models[1:]:
        make_price(model)
    set_fallbacks(actor=admin, model=models[0], fallbacks=[models[2], models[1]])
    set_secret(actor=admin, model=models[0], value="sk-nobody-reads-this")

    assert queries_for(admin, MODELS) == few
    answer = data_of(admin, MODELS)
    assert "sk-nobody" not in str(answer)
    first = next(node for node in nodes(answer["listLanguageModels"]) if node["name"] == models[0].name)
    assert (first["hasSecret"], first["fallbacks"]) == (True, [str(models[2].pk), str(models[1].pk)])
    assert nodes(first["prices"]) == [
        {"inputPrice": "0.4", "requestPrice": "0", "languageModel": {"name": models[0].name}}
    ]


def test_budgets_with_their_standing_take_as_many_queries_for_four_as_for_one(admin: User) -> None:
    def budget_of(user: User) -> None:
        create_budget(actor=admin, scope="user", period="day", limit=3 * PICO_PER_USD, user=user)

    budget_of(make_user())
    few = queries_for(admin, BUDGETS)
    for _ in range(3):
        budget_of(make_user())

    assert queries_for(admin, BUDGETS) == few
    for node in nodes(data_of(admin, BUDGETS)["listBudgets"]):
        assert (node["limit"], node["present"]) == ("3", {"spent": "0", "left": "3", "percent": 0})


def test_people_see_their_own_account_tokens_and_ledger(alice: User, bob: User, admin: User) -> None:
    make_token(bob)
    query = """{ me { username credits } listUsers { edges { node { username } } }
        listTokens { edges { node { user { username } } } }
        listCreditEntries { edges { node { amount user { username } } } } }"""

    found = data_of(alice, query)
    assert found["me"] == {"username": "alice", "credits": "100"}
    assert nodes(found["listUsers"]) == [{"username": "alice"}]
    assert {node["user"]["username"] for node in nodes(found["listTokens"])} == {"alice"}
    assert nodes(found["listCreditEntries"]) == [{"amount": "100", "user": {"username": "alice"}}]
    assert len(nodes(data_of(admin, query)["listUsers"])) == 3


def test_a_token_is_shown_once_to_whoever_makes_it(alice: User) -> None:
    made = data_of(
        alice,
        'mutation { createToken(input: {name: "app", scopes: ["read"]}) { token { prefix } secret errors { code } } }',
    )
    secret = made["createToken"]["secret"]
    assert secret.startswith(f"signet_{made['createToken']['token']['prefix']}_")
    assert ApiToken.objects.get(name="app").scopes == ["read"]
    assert secret not in str(data_of(alice, "{ listTokens { edges { node { name prefix } } } }"))


def test_credits_are_granted_once_per_key_and_only_as_decimal_strings(alice: User, admin: User) -> None:
    grant = """mutation G($user: ID!, $credits: Decimal!, $key: String) { grantCredits(input: {
        user: $user, credits: $credits, idempotencyKey: $key}) { line { amount } errors { code field } } }"""
    for _ in range(2):
        told = data_of(admin, grant, user=str(alice.pk), credits="1.5", key="april")["grantCredits"]
        assert told == {"line": {"amount": "1.5"}, "errors": []}
    assert CreditEntry.objects.filter(user=alice, amount=1_500_000).count() == 1
    alice.refresh_from_db()
    assert alice.ml_credits == 101 * MICRO_PER_CREDIT + 500_000

    wrong = data_of(admin, grant, user=str(alice.pk), credits="much", key=None)["grantCredits"]["errors"]
    assert wrong == [{"code": "decimal_invalid", "field": "credits"}]
    for amount in (1.5, True, None, [1]):
        assert codes_of(asked(admin, grant, user=str(alice.pk), credits=amount, key=None))
    refused = data_of(alice, grant, user=str(alice.pk), credits="1", key=None)["grantCredits"]
    assert [error["code"] for error in refused["errors"]] == ["user_grant_credits_forbidden"]
    assert CreditEntry.objects.filter(user=alice).count() == 2


def test_ids_of_other_kinds_of_rows_are_not_found(admin: User) -> None:
    model = make_language_model()
    told = data_of(
        admin,
        "mutation D($user: ID!) { deactivateUser(input: {user: $user}) { errors { code field } } }",
        user=str(model.pk),
    )
    assert told["deactivateUser"]["errors"] == [{"code": "user_not_found", "field": "user"}]
    assert LanguageModel.objects.filter(pk=model.pk).exists()


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ([], "not_an_object"),
        ({"query": ""}, "required"),
        ({"query": 3}, "required"),
        ({"query": "{ me { id } }", "variables": []}, "not_an_object"),
        ({"query": "{ me { id } }", "operationName": 3}, "not_a_string"),
        ({"query": "{ me { id } }", "batch": 1}, "unknown_field"),
    ],
)
def test_a_body_that_is_no_operation_is_refused(alice: User, body: object, code: str) -> None:
    answer = api_of(alice).post("/graphql/", body, format="json")
    assert (answer.status_code, answer.json()["code"]) == (400, code)


def test_nothing_is_done_by_get(alice: User) -> None:
    assert api_of(alice).get("/graphql/?query={me{id}}").status_code == 405


def test_an_operation_that_is_not_in_the_document_is_named(alice: User) -> None:
    answer = asked(alice, "query A { me { id } }", operation="B")
    assert answer["errors"][0]["message"] == "Unknown operation named 'B'."


def test_a_filter_named_like_an_argument_of_every_list_is_refused_when_the_schema_is_built(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(UserFilter.base_filters, "first", CharFilter())
    with pytest.raises(TypeError, match="UserFilter: call first otherwise"):
        graphene.Schema(query=Query)


def test_a_subscription_beside_what_is_asked_for_does_not_matter(alice: User) -> None:
    follow = "subscription S($s: Boolean!) { executionUpdates @skip(if: $s) { id } }"
    assert data_of(alice, "query A { me { username } } " + follow, operation="A") == {"me": {"username": "alice"}}
    assert codes_of(asked(alice, follow, s=True)) == ["graphql_subscription_elsewhere"]
    assert codes_of(asked(alice, follow)) == ["graphql_invalid"]


@pytest.mark.parametrize("spelling", ["urn:uuid:%s", "{%s}", " %s", "%s\n"])
def test_an_id_has_one_spelling(alice: User, spelling: str) -> None:
    id = spelling % alice.pk
    answer = asked(alice, "query N($id: ID!) { node(id: $id) { id } getUser(id: $id) { id } }", id=id)
    assert answer["data"] == {"node": None, "getUser": None}
    assert codes_of(answer) == ["user_not_found"]
    assert data_of(alice, "query N($id: ID!) { node(id: $id) { id } }", id=str(alice.pk))["node"]
    assert asked(alice, "query N($id: ID!) { node(id: $id) { id } }", id=alice.pk.hex)["data"] == {"node": None}
