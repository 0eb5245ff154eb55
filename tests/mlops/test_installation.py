"""Which language model a fresh installation uses."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.conf import LazySettings
from django.conf import settings as of_the_tests

from mlops.egress import allow_private_hosts
from mlops.errors import Forbidden
from mlops.models import LanguageModel, User
from mlops.selectors import default_language_model, language_model_spec
from mlops.services import installation
from mlops.services.installation import choose_default_model, ensure_default_model
from mlops.types import MATCHER_NAME

KEYS = ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY")


@pytest.fixture(autouse=True)
def _bare_machine(monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> None:
    """No setting, no key, and nobody listening where Ollama would be."""
    settings.SIGNET_LANGUAGE_MODEL = ""
    for key in KEYS:
        monkeypatch.delenv(key, raising=False)
    monkeypatch.setattr(installation, "OLLAMA", "http://127.0.0.1:1")


@pytest.fixture
def ollama(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """A server that lists models as Ollama does; the test fills in what it answers."""
    answer: list[Any] = []

    class Tags(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(json.dumps(answer[0]).encode())

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Tags)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    monkeypatch.setattr(installation, "OLLAMA", f"http://127.0.0.1:{server.server_port}")
    yield answer
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_setting_comes_first(monkeypatch: pytest.MonkeyPatch, settings: LazySettings) -> None:
    settings.SIGNET_LANGUAGE_MODEL = "anthropic/claude-x"
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")

    choice = choose_default_model()

    assert (choice.name, choice.secret_variable) == ("anthropic/claude-x", "ANTHROPIC_API_KEY")
    assert "SIGNET_LANGUAGE_MODEL" in choice.reason


@pytest.mark.parametrize(
    ("key", "provider"),
    [("OPENAI_API_KEY", "openai"), ("ANTHROPIC_API_KEY", "anthropic"), ("GEMINI_API_KEY", "gemini")],
)
def test_then_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch, key: str, provider: str) -> None:
    monkeypatch.setenv(key, "sk-canary")

    choice = choose_default_model()

    assert (choice.name.partition("/")[0], choice.secret_variable) == (provider, key)
    assert key in choice.reason
    assert "sk-canary" not in repr(choice)


def test_then_a_running_ollama(ollama: list[Any]) -> None:
    ollama.append({"models": [{"name": "nomic-embed-text"}, {"name": "llama3.2:3b"}]})

    choice = choose_default_model()

    assert (choice.name, choice.api_base) == ("ollama_chat/llama3.2:3b", installation.OLLAMA)


def test_an_ollama_that_may_not_be_called_is_none(ollama: list[Any]) -> None:
    ollama.append({"models": [{"name": "llama3.2:3b"}]})
    allow_private_hosts([])
    try:
        assert choose_default_model().name == MATCHER_NAME
    finally:
        allow_private_hosts(of_the_tests.SIGNET_ALLOWED_PRIVATE_HOSTS)


@pytest.mark.parametrize("answer", [{"models": []}, {}, [], {"models": [{"name": 5}]}, {"models": None}, "x"])
def test_an_ollama_without_models_is_none(ollama: list[Any], answer: Any) -> None:
    ollama.append(answer)

    assert choose_default_model().name == MATCHER_NAME


def test_else_the_matcher_which_says_what_it_is() -> None:
    choice = choose_default_model()

    assert choice.name == MATCHER_NAME
    assert "not a language model" in choice.reason


@pytest.mark.django_db
def test_the_matcher_has_an_explicit_price_of_nothing(admin: User) -> None:
    model, _reason = ensure_default_model(actor=admin)

    price = language_model_spec(model).price
    assert price is not None
    assert (price.input, price.cached_input, price.output) == (0, 0, 0)


@pytest.mark.django_db
def test_the_choice_is_stored_once(admin: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-canary")

    first, reason = ensure_default_model(actor=admin)
    second, second_reason = ensure_default_model(actor=admin)

    assert first == second == default_language_model()
    assert reason != second_reason
    assert LanguageModel.objects.count() == 1
    assert language_model_spec(first).api_key == "sk-canary"
    assert "sk-canary" not in repr(list(LanguageModel.objects.values()))


@pytest.mark.django_db
def test_a_known_model_gets_its_price_and_an_unknown_one_none(admin: User, settings: LazySettings) -> None:
    settings.SIGNET_LANGUAGE_MODEL = "openai/gpt-4.1-mini"
    model, _reason = ensure_default_model(actor=admin)
    row = model.prices.get()
    assert 0 < row.cached_input_price < row.input_price < row.output_price

    LanguageModel.objects.update(is_default=False)
    settings.SIGNET_LANGUAGE_MODEL = "openai/nobody-knows"
    assert language_model_spec(ensure_default_model(actor=admin)[0]).price is None


@pytest.mark.django_db
def test_only_admins_choose(erin: User) -> None:
    with pytest.raises(Forbidden):
        ensure_default_model(actor=erin)

    assert not LanguageModel.objects.exists()
