"""Secrets are planted, the installation is driven broadly, and every byte that came of it is searched for them.

Planted: keys of language models (kept encrypted, and in a variable of the environment), bearer tokens, passwords, the
cookie of a session, Django's secret key and the passphrase of the secrets at rest. The provider says back, in answers,
errors and headers, whatever key it was called with.
"""

from __future__ import annotations

import base64
import gc
import html
import json
import logging
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote, urljoin

import dspy
import pytest
from asgiref.sync import async_to_sync
from celery.signals import before_task_publish
from django.contrib.admin import site
from django.core import mail
from django.core.files.base import ContentFile
from django.db import connection
from django.db.models import Model
from django.test import Client
from pytest_django import Settings

from datasets.models import Dataset
from datasets.services import create_dataset, import_corpus
from datasets.services.imports import work_imports
from executions.models import Execution
from executions.services import create_metric, evaluate_program, planning, process
from executions.services.evaluations.working import run_evaluation_here
from executions.services.execute import execute_program
from executions.services.process import ExecutionProcess
from executions.services.usage import count_usage
from executions.types import GroupBy, Mode
from mlops.models import ApiToken, LanguageModel, User
from mlops.selectors import language_model_spec
from mlops.services.budgets import create_budget, tell_of_budgets
from mlops.services.history import operator
from mlops.services.language_models import set_secret
from mlops.types import Role
from optimizations.models import Optimization
from optimizations.services import compile_program
from optimizations.services.working import work_optimizations
from programs.models import Program, PromptVersion
from tests.conftest import api_of
from tests.executions.programs import make_program, provided_model
from tests.factories import make_user
from tests.installation import eventually
from tests.provider import Behaviour, Exchange, Provider, Received

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.timeout(300)]

KEPT_KEY = "sk-canary-kept-5b1f0c9e77"
ENVIRONMENT_KEY = "sk-canary-environment-a4417d02"
VECTORS_KEY = "sk-canary-vectors-63cc81f5"
PASSWORD = "canary-password-9f21-Torshavn"  # planted to be looked for
NEW_PASSWORD = "canary-password-7710-Klaksvik"
WRONG_PASSWORD = "canary-password-0000-wrong"
DJANGO_KEY = "canary-django-key-1c6e0d37a2b95f48e0d1c2b3a4958677"
PASSPHRASE = "canary-passphrase-of-secrets-at-rest"

KEY_MARK = "here it is: "
QUESTION = "Where is parcel 4711?"
SUBMIT = {"_form_submitted": "true"}
PAGES = 120
"""How many pages of the admin site are read at most."""


@dataclass
class Haul:
    """All that came out, with where from."""

    found: list[tuple[str, str]] = field(default_factory=list)

    def add(self, where: str, text: object) -> None:
        self.found.append((where, str(text)))

    def add_response(self, response: Any) -> Any:
        where = f"{response.request['REQUEST_METHOD']} {response.request['PATH_INFO']}"
        body = pieces_of(response) if response.streaming else response.content
        self.add(where, body.decode("utf-8", "replace"))
        self.add(f"headers of {where}", json.dumps(dict(response.items())))
        return response

    def of(self, where: str) -> list[str]:
        """What came from there."""
        return [text for place, text in self.found if where in place and not place.startswith("headers")]

    def holding(self, secrets: dict[str, str]) -> list[str]:
        """Which secret was found where."""
        return sorted(
            {
                f"{name}: {where}"
                for where, text in self.found
                for name, secret in secrets.items()
                if any(form in text for form in forms_of(secret))
            }
        )


def pieces_of(response: Any) -> bytes:
    async def read() -> bytes:
        return b"".join([piece async for piece in response.streaming_content])

    return async_to_sync(read)() if response.is_async else b"".join(response.streaming_content)


def forms_of(secret: str) -> set[str]:
    """A secret as it is and as it is written elsewhere."""
    raw = secret.encode()
    encoded = {base64.b64encode(raw[start:]).decode()[4:-8] for start in range(3)}
    return {secret, quote(secret, safe=""), raw.hex(), secret[::-1], *encoded}


@pytest.fixture(autouse=True)
def _planted_settings(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.SECRET_KEY = DJANGO_KEY
    settings.SIGNET_ENCRYPTION_KEYS = [PASSPHRASE]
    settings.MEDIA_ROOT = tmp_path
    settings.PASSWORD_HASHERS = ["mlops.passwords.Argon2Hasher"]
    monkeypatch.setenv("SIGNET_LM_CANARY", ENVIRONMENT_KEY)


@pytest.fixture
def messages() -> Iterator[list[str]]:
    """What is handed to Celery while the test runs."""
    sent: list[str] = []

    def note(sender: object = None, body: object = None, headers: object = None, **rest: object) -> None:
        sent.append(repr((sender, body, headers)))

    before_task_publish.connect(note)
    yield sent
    before_task_publish.disconnect(note)


# The careless provider


def said_by(exchange: Exchange) -> str:
    """The key that a request came with."""
    return exchange.provider.requests[-1].headers["authorization"].removeprefix("Bearer ")


def failing(code: int) -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        key = said_by(exchange)
        error = {"message": f"Refused {key}.", "type": key, "param": key, "code": key}
        exchange.send(code, json.dumps({"error": error}).encode(), {"x-request-id": key, "www-authenticate": key})

    return behave


def leading_astray() -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        exchange.send(
            302, said_by(exchange).encode(), {"location": f"{exchange.provider.base_url}/{said_by(exchange)}"}
        )

    return behave


def answering() -> Behaviour:
    """An answer that holds the key, in a demo's field and in what only the raw answer has."""

    async def behave(exchange: Exchange) -> None:
        if "input" in exchange.body:
            exchange.embed()
            return
        key = said_by(exchange)
        text = f"[[ ## answer ## ]]\nhere it is: {key}\n\n[[ ## completed ## ]]\n{key}"
        exchange.complete({"content": text, "refusal": None, "annotations": [key]}, "stop")

    return behave


def unreadable() -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        exchange.complete({"content": f"no fields at all, but {said_by(exchange)}"}, "stop")

    return behave


def no_json() -> Behaviour:
    async def behave(exchange: Exchange) -> None:
        exchange.send(200, f"<html>{said_by(exchange)}</html>".encode())

    return behave


class CarelessProvider(Provider):
    """It says the key back whenever nothing else is scripted."""

    def next_behaviour(self, received: Received) -> Behaviour:
        return super().next_behaviour(received) or answering()


@pytest.fixture
def provider() -> Iterator[Provider]:
    with CarelessProvider() as running:
        yield running


@pytest.fixture
def worker(transactional_db: None) -> Iterator[ExecutionProcess]:
    planning.forget()
    here = process.ensure_started()
    here.submit(here.begin_claiming()).result()
    yield here
    process.stop_thread()
    planning.forget()


# Driving


@dataclass
class Driven:
    """What is driven, and by whom."""

    haul: Haul
    provider: Provider
    browser: Client
    admin: User
    user: User
    token: str
    rotated: str = ""


def driven(haul: Haul, provider: Provider) -> Driven:
    """People who log in with planted passwords and ask with planted tokens."""
    admin = make_user(Role.ADMIN.value, username="admin", password=PASSWORD)
    user = make_user(username="paula", credits=10_000)
    browser = Client()
    for name, password in (("admin", WRONG_PASSWORD), ("nobody", PASSWORD), ("admin", PASSWORD)):
        haul.add_response(browser.post("/admin/login/", {"username": name, "password": password}))
    assert browser.get("/admin/").status_code == 200
    created = browser.post("/api/v1/tokens/", {"name": "canary"}, "application/json", HTTP_IDEMPOTENCY_KEY="k-1")
    assert created.status_code == 201, created.content
    return Driven(haul, provider, browser, admin, user, created.json()["token"])


def models_of(drive: Driven) -> list[LanguageModel]:
    """Two chat models, natively and through LiteLLM, and one for vectors; their keys set by REST and by the admin."""
    kept = provided_model(drive.provider, name="openai/kept", is_default=True)
    other = provided_model(drive.provider, name="together_ai/other", timeout_s=60, deadline_s=60)
    vectors = provided_model(drive.provider, name="openai/vectors", kind="embedding", is_default=True)
    secret = {"value": KEPT_KEY}
    posted = drive.browser.post(f"/api/v1/language-models/{kept.pk}/set_secret/", secret, "application/json")
    assert drive.haul.add_response(posted).status_code == 200
    page = f"/admin/mlops/languagemodel/{vectors.pk}/set_secret/"
    drive.haul.add_response(drive.browser.post(page, {**SUBMIT, "value": f"{VECTORS_KEY}\n", "variable": ""}))
    drive.haul.add_response(drive.browser.post(page, {**SUBMIT, "value": VECTORS_KEY, "variable": ""}))
    set_secret(actor=operator(), model=other, variable="SIGNET_LM_CANARY")
    models = list(LanguageModel.objects.order_by("name"))
    keys = {model.name: language_model_spec(model).api_key for model in models}
    assert keys == {"openai/kept": KEPT_KEY, "openai/vectors": VECTORS_KEY, "together_ai/other": ENVIRONMENT_KEY}
    return models


def execute_everywhere(drive: Driven, program: Program) -> None:
    """Executions that succeed and fail, synchronous and asynchronous, through both ways to a provider."""
    faults = [*(failing(code) for code in (400, 401, 404, 429, 500)), leading_astray(), unreadable(), no_json()]
    for model in ("openai/kept", "together_ai/other"):
        for behaviour in (answering(), *faults):
            for mode in (Mode.SYNC, Mode.ASYNC):
                drive.provider.script(behaviour)
                row = execute_program(
                    actor=drive.admin, program=program, input={"question": QUESTION}, language_model=model, mode=mode
                )
                eventually(lambda row=row: Execution.objects.get(pk=row.pk).is_terminal)  # type: ignore[misc]
    address = f"/api/v1/programs/{program.name}/execute/"
    drive.provider.script(answering(), failing(400))
    for _ in range(2):
        drive.haul.add_response(api_of(drive.user).post(address, {"input": {"question": QUESTION}}, format="json"))
    assert set(Execution.objects.values_list("state", flat=True)) == {"completed", "failed"}


def improve(drive: Driven, program: Program) -> None:
    """An evaluation, a compile with bootstrapped demos, a corpus with vectors, and a dataset of what was answered."""
    dataset = a_dataset(drive.admin)
    metric = create_metric(actor=drive.admin, name="mentions", kind="contains", config={"field": "answer"})
    run_evaluation_here(evaluate_program(actor=drive.admin, program=program, dataset=dataset, metrics=[metric]))
    compile_program(actor=drive.admin, program=program, dataset=dataset, metric=metric, optimizer="bootstrap_few_shot")
    work_optimizations()
    assert Optimization.objects.get().state == "completed"
    assert any(KEY_MARK in json.dumps(prompt.demos) for prompt in PromptVersion.objects.all())  # demos were made of it
    vectors = LanguageModel.objects.get(kind="embedding")
    for name, behaviours in (("refused", [failing(401)]), ("handbook", [])):
        drive.provider.script(*behaviours)
        file = ContentFile(b"We open at nine.\n\nWe close at five.", f"{name}.txt")
        import_corpus(actor=drive.admin, name=name, file=file, embedding_model=vectors)
        work_imports()
    collected = {"name": "collected", "type": "training", "program": program.name}
    made = drive.browser.post("/api/v1/executions/collect/", collected, "application/json")
    assert drive.haul.add_response(made).status_code == 201, made.content
    assert KEY_MARK in json.dumps(list(Dataset.objects.get(name="collected").examples.values_list("data", flat=True)))


def exceed_a_budget(drive: Driven, program: Program) -> None:
    """Work that is refused for a budget, of which a mail tells."""
    create_budget(actor=drive.admin, scope="user", period="day", user=drive.user, limit=1)
    address = f"/api/v1/programs/{program.name}/execute/"
    refused = api_of(drive.user).post(address, {"input": {"question": QUESTION}}, format="json")
    assert drive.haul.add_response(refused).status_code == 402
    assert tell_of_budgets() == 1


def a_dataset(actor: User) -> Dataset:
    examples = [{"question": f"Where is parcel {number}?", "answer": "here"} for number in range(6)]
    return create_dataset(actor=actor, name="parcels", type="training", examples=examples)


def mishandle_passwords(drive: Driven) -> None:
    """Accounts made, refused and changed, by REST and by the admin; tokens rotated and misused."""
    for body in (
        {"username": "new", "password": NEW_PASSWORD},
        {"username": "new", "password": NEW_PASSWORD},  # taken
        {"username": "", "password": NEW_PASSWORD, "role": "king", "rank": 1},
        {"username": [NEW_PASSWORD], "password": {"x": 1}},
    ):
        drive.haul.add_response(drive.browser.post("/api/v1/users/", body, "application/json"))
    new = User.objects.get(username="new")
    page = f"/admin/mlops/user/{new.pk}/set_password/"
    for password in ("short", NEW_PASSWORD):
        drive.haul.add_response(drive.browser.post(page, {**SUBMIT, "password": password}))
    assert User.objects.get(username="new").check_password(NEW_PASSWORD)
    change = {"old_password": WRONG_PASSWORD, "new_password1": NEW_PASSWORD, "new_password2": WRONG_PASSWORD}
    drive.haul.add_response(drive.browser.post("/admin/password_change/", change))
    client = Client(HTTP_AUTHORIZATION=f"Bearer {drive.token}")
    for address in ("/api/v1/users/me/", "/api/v1/nowhere/", "/api/v1/executions/?ordering=x", "/admin/"):
        drive.haul.add_response(client.get(address))
    for wrong in (f"Bearer {drive.token}x", f"Basic {drive.token}", drive.token):
        drive.haul.add_response(Client(HTTP_AUTHORIZATION=wrong).get("/api/v1/users/me/"))
    for raw in ("{", '{"input": 1}', '{"name": "\\u0000"}'):
        drive.haul.add_response(client.post("/api/v1/programs/answering/execute/", raw, "application/json"))
    row = ApiToken.objects.get(name="canary")
    rotated = drive.browser.post(f"/api/v1/tokens/{row.pk}/rotate/", {}, "application/json")
    assert rotated.status_code in (200, 201), rotated.content
    drive.rotated = rotated.json()["token"]


# Reading everything


def read_pages(drive: Driven) -> None:
    """Pages of the admin site, from link to link: a few of each kind."""
    waiting, kinds = ["/admin/"], Counter[str]()
    seen: set[str] = set()
    waiting += [f"/admin/{model._meta.app_label}/{model._meta.model_name}/" for model in site._registry]
    while waiting and len(seen) < PAGES:
        address = waiting.pop(0)
        kind = re.sub(r"[0-9a-f-]{36}|\d+", "*", address.partition("?")[0])
        if address in seen or kinds[kind] >= 2 or "logout" in address:
            continue
        seen.add(address)
        kinds[kind] += 1
        response = drive.haul.add_response(drive.browser.get(address))
        assert response.status_code < 500, address
        if response.status_code == 200 and "text/html" in response["Content-Type"]:
            links = re.findall(r'href="([^"#]+)"', response.content.decode())
            waiting += [urljoin(address, html.unescape(link)) for link in links if link.startswith(("/admin/", "?"))]
    assert len(seen) > 100


def read_api(drive: Driven) -> None:
    """Every list of the API, the details of what stands in it, and what lies below those."""
    schema = drive.haul.add_response(drive.browser.get("/api/schema/?format=json")).json()
    addresses = [address for address, methods in schema["paths"].items() if "get" in methods]
    for address in addresses:
        if "{" not in address:
            read_list(drive, address, [below for below in addresses if below.startswith(address + "{")])
    assert len(drive.haul.found) > 300


def read_list(drive: Driven, address: str, below: list[str]) -> None:
    response = drive.haul.add_response(drive.browser.get(address))
    listed = response.json() if response["Content-Type"].startswith("application/json") else {}
    rows = listed.get("results", []) if isinstance(listed, dict) else []
    for row in rows[:2]:
        for template in below:
            name = re.search(r"\{(\w+)\}", template)
            assert name is not None
            found = template.replace(name[0], str(row["id"]))
            if "{" not in found:  # streams of events, too: they end where the work has ended
                drive.haul.add_response(drive.browser.get(found))


def read_exports(drive: Driven) -> None:
    """Every file that can be taken away: datasets, that of the answers among them, and usage."""
    for dataset in Dataset.objects.all():
        for format in ("csv", "jsonl", "json"):
            drive.haul.add_response(drive.browser.get(f"/api/v1/datasets/{dataset.pk}/export/?as={format}"))
    for group in GroupBy:
        answer = drive.haul.add_response(drive.browser.get(f"/api/v1/usage/?format=csv&group_by={group.value}"))
        assert answer["Content-Type"].startswith("text/csv")
    assert sum(KEY_MARK in text for text in drive.haul.of("/export/")) >= 3
    assert any("together_ai/other" in text for text in drive.haul.of("/api/v1/usage/"))


def read_mails(haul: Haul) -> None:
    for message in mail.outbox:
        haul.add("mail", message.message().as_string())


def read_objects(haul: Haul) -> None:
    """What a debugger, a traceback or a careless log line would show of our objects and of DSPy's models."""
    ours = ("mlops.", "datasets.", "programs.", "executions.", "optimizations.")
    for thing in gc.get_objects():
        kind = type(thing)
        is_row = issubclass(kind, Model)  # which the tables show, and whose words may ask the database
        if not is_row and (str(kind.__module__).startswith(ours) or issubclass(kind, dspy.LM)):
            haul.add(f"repr of {kind.__qualname__}", repr(thing))


def read_database(haul: Haul) -> None:
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f'SELECT * FROM "{table}"')
            for row in cursor.fetchall():
                haul.add(f"table {table}", repr(row))


def read_files(haul: Haul, folder: Path) -> None:
    for file in folder.rglob("*"):
        if file.is_file():
            haul.add(f"file {file.name}", file.read_bytes().decode("utf-8", "replace"))


@pytest.fixture
def only_new_objects() -> Iterator[None]:
    """`gc.get_objects` tells what was made since: objects of tests before may speak of rows that are gone."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("only_new_objects")
def test_no_secret_is_found_anywhere(
    provider: Provider,
    worker: ExecutionProcess,
    messages: list[str],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG)
    haul = Haul()
    drive = driven(haul, provider)
    models_of(drive)
    program = make_program()
    execute_everywhere(drive, program)
    improve(drive, program)
    exceed_a_budget(drive, program)
    count_usage()
    mishandle_passwords(drive)

    read_pages(drive)
    read_api(drive)
    read_exports(drive)
    read_mails(haul)
    read_objects(haul)
    read_database(haul)
    read_files(haul, tmp_path)
    for record in caplog.records:
        haul.add(f"log of {record.name}", f"{record.getMessage()} {record.exc_text} {record.__dict__}")
    written = capfd.readouterr()
    haul.add("stdout and stderr", written.out + written.err)
    for message in messages:
        haul.add("message of Celery", message)

    secrets = {
        "key of a model": KEPT_KEY,
        "key of the environment": ENVIRONMENT_KEY,
        "key of vectors": VECTORS_KEY,
        "password": PASSWORD,
        "new password": NEW_PASSWORD,
        "wrong password": WRONG_PASSWORD,
        "Django's key": DJANGO_KEY,
        "passphrase": PASSPHRASE,
        "token": drive.token,
        "rotated token": drive.rotated,
        "session": drive.browser.cookies["sessionid"].value,
    }
    authorizations = {request.headers["authorization"] for request in provider.requests}
    assert authorizations == {f"Bearer {key}" for key in (KEPT_KEY, ENVIRONMENT_KEY, VECTORS_KEY)}
    assert messages
    assert len(haul.of("mail")) == 1
    streams = {place.split("/")[3] for place, text in haul.found if "/events/" in place and "event: " in text}
    assert streams == {"executions", "evaluations", "imports", "optimizations"}
    assert haul.holding({"what is searched for is found": QUESTION})
    assert "\n".join(haul.holding(secrets)) == ""
