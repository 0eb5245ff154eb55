from io import StringIO

import pytest
from django.conf import LazySettings
from django.core.management import CommandError, call_command

from mlops import secrets
from mlops.models import LanguageModel, User
from mlops.selectors import proven_balance
from mlops.services.history import operator
from mlops.services.language_models import set_secret
from mlops.services.tokens import authenticate_token
from tests.factories import make_language_model

pytestmark = pytest.mark.django_db


def run(name: str, *arguments: str) -> list[str]:
    out = StringIO()
    call_command(name, *arguments, stdout=out)
    return out.getvalue().splitlines()


def test_create_token_makes_the_account_and_prints_the_token_last() -> None:
    lines = run("create_token", "dora", "--role", "ml_engineer", "--credits", "2.5", "--name", "laptop")

    dora = User.objects.get()
    assert authenticate_token(lines[-1]) == dora
    assert (dora.username, dora.role, dora.ml_credits) == ("dora", "ml_engineer", 2_500_000)
    assert dora.api_tokens.get().name == "laptop"
    assert proven_balance(dora) == 2_500_000


def test_create_token_keeps_an_account_that_is_there(alice: User) -> None:
    lines = run("create_token", "alice")

    assert len(lines) == 1
    assert authenticate_token(lines[0]) == alice
    alice.refresh_from_db()
    assert (alice.role, alice.ml_credits) == ("ml_user", 100_000_000)


def test_create_token_changes_a_role_when_told(alice: User) -> None:
    run("create_token", "alice", "--role", "admin")

    alice.refresh_from_db()
    assert alice.role == "admin"


@pytest.mark.parametrize("arguments", [["with space"], ["dora", "--credits", "many"], ["dora", "--credits", "-1"]])
def test_create_token_leaves_nothing_behind_when_refused(arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        run("create_token", *arguments)

    assert not User.objects.exists()


def test_check_credits_proves_all_balances(alice: User, bob: User) -> None:
    assert run("check_credits") == ["2 balances agree with the ledger."]


def test_check_credits_fails_when_one_lies(alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(ml_credits=1)

    with pytest.raises(CommandError):
        run("check_credits")


def test_rotate_secrets(settings: LazySettings) -> None:
    settings.SIGNET_ENCRYPTION_KEYS = ["old"]
    set_secret(actor=operator(), model=make_language_model(), value="sk-1")
    settings.SIGNET_ENCRYPTION_KEYS = ["new", "old"]

    assert run("rotate_secrets") == ["1 secrets are encrypted with the first key."]

    settings.SIGNET_ENCRYPTION_KEYS = ["new"]
    assert secrets.decrypt(LanguageModel.objects.get().secret) == "sk-1"


def test_rotate_secrets_of_a_lost_key_fails_and_changes_nothing(settings: LazySettings) -> None:
    settings.SIGNET_ENCRYPTION_KEYS = ["old"]
    model = set_secret(actor=operator(), model=make_language_model(), value="sk-1")
    settings.SIGNET_ENCRYPTION_KEYS = ["new"]

    with pytest.raises(CommandError):
        run("rotate_secrets")

    assert LanguageModel.objects.get().secret == model.secret
