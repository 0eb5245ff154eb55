"""Which language model a fresh installation uses, and why."""

from __future__ import annotations

import json
import os
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlsplit

from django.conf import settings
from django.db import transaction
from django.utils.translation import gettext as _

from mlops.egress import may_connect
from mlops.models import LanguageModel, User
from mlops.policies import language_model_policy
from mlops.services.language_models import create_language_model, set_default, set_secret
from mlops.types import MATCHER_NAME, LanguageModelKind
from mlops.verbs import verb

PROVIDERS = {
    "openai": ("OPENAI_API_KEY", "openai/gpt-4.1-mini"),
    "anthropic": ("ANTHROPIC_API_KEY", "anthropic/claude-haiku-4-5"),
    "gemini": ("GEMINI_API_KEY", "gemini/gemini-2.5-flash"),
}
OLLAMA = "http://127.0.0.1:11434"
PROBE_S = 0.3


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A language model and, in words for people, why it was chosen."""

    name: str
    reason: str
    secret_variable: str = ""
    api_base: str = ""


def choose_default_model() -> ModelChoice:
    """An explicit setting, else a provider's key in the environment, else a running Ollama, else the matcher."""
    return _from_setting() or _from_key() or _from_ollama() or _matcher()


@verb(language_model_policy, "set_default")
def ensure_default_model(*, actor: User) -> tuple[LanguageModel, str]:
    """The default chat model, and why it is that one; chosen and stored when there is none. Raises `Forbidden`."""
    language_model_policy.check(actor, "set_default")
    present = LanguageModel.objects.filter(is_default=True, kind=LanguageModelKind.CHAT.value).first()
    if present is not None:
        return present, _("it is set as the default")
    choice = choose_default_model()
    with transaction.atomic():
        model = LanguageModel.objects.filter(name=choice.name).first() or _stored(actor, choice)
        return set_default(actor=actor, model=model), choice.reason


def _stored(actor: User, choice: ModelChoice) -> LanguageModel:
    model = create_language_model(actor=actor, name=choice.name, api_base=choice.api_base)
    if choice.secret_variable:
        model = set_secret(actor=actor, model=model, variable=choice.secret_variable)
    return model


def _from_setting() -> ModelChoice | None:
    name = settings.SIGNET_LANGUAGE_MODEL
    if not name:
        return None
    variable = PROVIDERS.get(name.partition("/")[0], ("", ""))[0]
    api_base = OLLAMA if name.startswith(("ollama/", "ollama_chat/")) else ""
    return ModelChoice(name, _("SIGNET_LANGUAGE_MODEL says so"), variable, api_base)


def _from_key() -> ModelChoice | None:
    for variable, name in PROVIDERS.values():
        if os.environ.get(variable):
            return ModelChoice(name, _("%(variable)s is set") % {"variable": variable}, variable)
    return None


def _from_ollama() -> ModelChoice | None:
    installed = _ollama_models() if may_connect("localhost", 11434, "127.0.0.1") else []
    if not installed:
        return None
    return ModelChoice(f"ollama_chat/{installed[0]}", _("Ollama is running on this machine"), api_base=OLLAMA)


def _ollama_models() -> list[str]:
    """Names of the models of a running Ollama that are no embedders; empty when none answers in `PROBE_S`."""
    try:
        with closing(HTTPConnection(urlsplit(OLLAMA).netloc, timeout=PROBE_S)) as line:  # which follows no redirect
            line.request("GET", "/api/tags")
            names = [model["name"] for model in json.load(line.getresponse())["models"]]
    except (OSError, HTTPException, ValueError, LookupError, TypeError):
        return []
    return [name for name in names if isinstance(name, str) and "embed" not in name]


def _matcher() -> ModelChoice:
    reason = _("no key of a provider and no Ollama was found; it copies and compares text, it is not a language model")
    return ModelChoice(MATCHER_NAME, reason)
