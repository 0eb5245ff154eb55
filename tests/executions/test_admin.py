"""The admin pages of executions: reading, executing through the form, buttons; whatever a model wrote is text."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from executions.models import Execution, Feedback
from executions.types import RunError
from mlops.models import User
from mlops.types import MATCHER_NAME, TokenUsage
from programs.models import PromptSet
from programs.services import create_program, create_signature
from programs.services.modules import ModuleInput
from programs.types import FieldSpec, FieldType
from tests.executions.programs import make_program, provided_model
from tests.executions.rows import make_prompt_set, new_execution, result, started
from tests.factories import make_user
from tests.provider import Provider, status

pytestmark = pytest.mark.django_db(transaction=True)

SUBMIT = {"_form_submitted": "true"}
SCRIPT = "<script>alert(1)</script>"
ESCAPED = "&lt;script&gt;alert(1)&lt;/script&gt;"
LIST = "/admin/executions/execution/"


@pytest.fixture
def browser(admin: User) -> Client:
    client = Client()
    client.force_login(admin)
    return client


def page(verb: str, *args: object, model: str = "execution") -> str:
    return reverse(f"admin:executions_{model}_{verb}", args=args)


def done(user: User, prompt_set: PromptSet, **fields: Any) -> Execution:
    """A stored execution that is completed."""
    execution = started(new_execution(user, prompt_set))
    execution.complete(result(**fields))
    execution.save()
    return execution


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return response.content.decode()


# Reading


@pytest.mark.parametrize("role", ["admin", "ml_engineer"])
def test_lists_and_pages_open(role: str) -> None:
    client, prompt_set, user = Client(), make_prompt_set(), make_user()
    client.force_login(make_user(role))
    execution = done(user, prompt_set)
    pending = new_execution(user, prompt_set)
    pending.save()
    rating = Feedback.objects.create(execution=execution, user=user, name="quality", score=1)

    for address in (LIST, page("change", execution.pk), page("change", pending.pk), page("history", execution.pk)):
        assert client.get(address).status_code == 200
    for address in (page("changelist", model="feedback"), page("change", rating.pk, model="feedback")):
        assert client.get(address).status_code == 200
    assert "Completed" in text_of(client, page("change", execution.pk))
    assert client.get(page("add")).status_code == 403


def test_an_ml_user_is_not_let_in(alice: User) -> None:
    client = Client()
    client.force_login(alice)
    execution = done(alice, make_prompt_set())

    for address in (LIST, page("change", execution.pk)):
        assert client.get(address).status_code == 302
    execute = client.post(page("execute", execution.program_id), {"input-question": "?"})
    assert (execute.status_code, Execution.objects.count()) == (302, 1)


def test_the_list_asks_as_often_for_thirty_rows_as_for_three(browser: Client) -> None:
    prompt_set = make_prompt_set()
    asked = []
    for more in (3, 27):
        for _ in range(more):
            done(make_user(), prompt_set)
        browser.get(LIST)  # whatever is read once per process has been read
        with CaptureQueriesContext(
            connection,
        ) as queries:
            browser.get(LIST)
        asked.append(len(queries))
    assert asked[0] == asked[1]
    assert not any('"trace"' in query["sql"] for query in queries)


def test_what_a_model_or_a_user_wrote_is_text(browser: Client) -> None:
    step = {
        "id": 0, "parent": None, "kind": "llm", "name": f"name {SCRIPT}", "start_ms": 0, "duration_ms": 1,
        "messages": [{"role": "user", "text": f"message {SCRIPT}"}], "input": {"question": f"in {SCRIPT}"},
        "output": f"out {SCRIPT}", "error": f"error {SCRIPT}",
    }  # fmt: skip
    execution = started(new_execution(make_user(), make_prompt_set(), input={"question": f"asked {SCRIPT}"}))
    failure = RunError("unknown", f"failed {SCRIPT}")
    execution.fail(failure, result(trace={"spans": [step], "dropped": 0}))
    execution.output = {"answer": f"answered {SCRIPT}"}
    execution.save()
    Feedback.objects.create(execution=execution, user=execution.user, name="n", score=1, comment=f"rated {SCRIPT}")

    shown = text_of(browser, page("change", execution.pk))

    for word in ("name", "message", "in", "out", "error", "asked", "failed", "answered", "rated"):
        assert f"{word} {ESCAPED}" in shown
    assert SCRIPT not in shown


def test_the_example_matcher_says_what_it_is(browser: Client) -> None:
    usage, prompt_set = TokenUsage(input=1, output=1), make_prompt_set()
    by_matcher = done(make_user(), prompt_set, by_model={MATCHER_NAME: usage})
    by_model = done(make_user(), prompt_set)

    assert "not a language model" in text_of(browser, page("change", by_matcher.pk))
    assert "not a language model" not in text_of(browser, page("change", by_model.pk))


def test_a_trace_that_was_not_kept_says_so(browser: Client) -> None:
    execution = done(make_user(), make_prompt_set(), trace={"spans": [], "dropped": 0, "captured": False})

    assert "not kept" in text_of(browser, page("change", execution.pk))


# Executing

EVERY_TYPE = (
    FieldSpec("text", FieldType.STRING),
    FieldSpec("count", FieldType.INTEGER),
    FieldSpec("ratio", FieldType.NUMBER),
    FieldSpec("is_urgent", FieldType.BOOLEAN),
    FieldSpec("day", FieldType.DATE),
    FieldSpec("colour", FieldType.ENUM, choices=("red", "blue")),
    FieldSpec("words", FieldType.STRING, is_list=True),
    FieldSpec("details", FieldType.OBJECT, schema={"type": "object"}),
    FieldSpec("note", FieldType.STRING, required=False),
)
TYPED = {
    "input-text": " two\r\nlines ", "input-count": "3", "input-ratio": "0.5", "input-is_urgent": "false",
    "input-day": "2026-02-03", "input-colour": "blue", "input-words": '["a", "b"]', "input-details": '{"deep": [1]}',
}  # fmt: skip


def every_type(actor: User) -> Any:
    fields = [*EVERY_TYPE, FieldSpec("answer", FieldType.STRING, is_input=False)]
    signature = create_signature(actor=actor, name="every_type", fields=fields)
    return create_program(actor=actor, name="every_type", modules=[ModuleInput(key="main", signature=signature)])


def test_the_form_knows_every_type(browser: Client, admin: User, provider: Provider) -> None:
    provided_model(provider)
    program = every_type(admin)
    form = text_of(browser, reverse("admin:programs_program_change", args=[program.pk]))
    assert all(f'name="input-{spec.name}"' in form for spec in EVERY_TYPE)

    response = browser.post(page("execute", program.pk), TYPED)

    execution = Execution.objects.get()
    assert (response.status_code, response.headers["Location"]) == (302, page("change", execution.pk))
    assert (execution.state, execution.source, execution.user) == ("completed", "admin", admin)
    assert execution.input == {
        "text": " two\r\nlines ", "count": 3, "ratio": 0.5, "is_urgent": False, "day": "2026-02-03", "colour": "blue",
        "words": ["a", "b"], "details": {"deep": [1]},
    }  # fmt: skip


def test_executions_of_the_admin_site_count_as_requests(browser: Client, admin: User, provider: Provider) -> None:
    provided_model(provider)
    program = every_type(admin)
    User.objects.filter(pk=admin.pk).update(rate_limit=1)

    first, second = (browser.post(page("execute", program.pk), TYPED) for _ in range(2))
    execution = Execution.objects.get()
    third = browser.post(page("replay", execution.pk), {"_form_submitted": "true"})

    assert (first.status_code, second.status_code) == (302, 400)
    assert "More than 1 requests within a minute." in second.content.decode()
    assert "More than 1 requests within a minute." in said(third)
    assert Execution.objects.count() == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", ""),
        ("text", "a\x00b"),
        ("count", "three"),
        ("ratio", "NaN"),
        ("is_urgent", "perhaps"),
        ("day", "yesterday"),
        ("colour", "green"),
        ("words", "not json"),
        ("words", '{"a": 1}'),
        ("details", "[]"),
    ],
)
def test_bad_input_comes_back_with_a_message_and_makes_no_row(
    browser: Client, admin: User, provider: Provider, field: str, value: str
) -> None:
    provided_model(provider)
    program = every_type(admin)

    response = browser.post(page("execute", program.pk), TYPED | {f"input-{field}": value})

    assert response.status_code == 400
    assert field in response.context["form"].errors
    assert "signet-error" in response.content.decode()
    assert 'value="0.5"' in response.content.decode() or field == "ratio"
    assert not Execution.objects.exists()
    assert provider.requests == []


def test_a_run_that_fails_is_shown_with_its_reason(browser: Client, provider: Provider) -> None:
    provided_model(provider)
    provider.script(status(401))
    program = make_program()

    response = browser.post(page("execute", program.pk), {"input-question": "Why?"}, follow=True)

    assert "authentication" in response.content.decode()
    assert Execution.objects.get().state == "failed"


def test_executing_takes_a_post_with_the_csrf_token(admin: User, provider: Provider) -> None:
    provided_model(provider)
    program, strict = make_program(), Client(enforce_csrf_checks=True)
    strict.force_login(admin)

    assert strict.get(page("execute", program.pk)).status_code == 405
    assert strict.post(page("execute", program.pk), {"input-question": "Why?"}).status_code == 403
    assert not Execution.objects.exists()


# Buttons


@pytest.mark.parametrize("name", ["cancel", "replay", "rate"])
def test_buttons_do_nothing_without_a_post_and_its_token(admin: User, name: str) -> None:
    strict, execution = Client(enforce_csrf_checks=True), new_execution(admin, make_prompt_set())
    execution.save()
    strict.force_login(admin)

    assert strict.get(page(name, execution.pk)).status_code == 200
    assert strict.post(page(name, execution.pk), SUBMIT | {"name": "quality", "score": "1"}).status_code == 403
    assert Execution.objects.get().state == "pending"
    assert not Feedback.objects.exists()


def test_cancel_ends_what_is_pending_and_is_not_offered_after_the_end(browser: Client, admin: User) -> None:
    execution = new_execution(admin, make_prompt_set())
    execution.save()
    assert page("cancel", execution.pk) in text_of(browser, page("change", execution.pk))

    browser.post(page("cancel", execution.pk), SUBMIT)

    assert Execution.objects.get().state == "cancelled"
    assert page("cancel", execution.pk) not in text_of(browser, page("change", execution.pk))
    assert "cannot be cancelled" in said(browser.post(page("cancel", execution.pk), SUBMIT))


def test_selected_executions_are_cancelled_and_the_refused_ones_named(browser: Client, admin: User) -> None:
    prompt_set = make_prompt_set()
    pending, ended = new_execution(admin, prompt_set), done(admin, prompt_set)
    pending.save()

    chosen = {"action": "cancel_selected", "_selected_action": [str(pending.pk), str(ended.pk)]}
    response = browser.post(LIST, chosen)

    assert f"{ended.pk}: " in said(response)
    assert Execution.objects.get(pk=pending.pk).state == "cancelled"
    assert Execution.objects.get(pk=ended.pk).state == "completed"


def test_rate_adds_feedback_and_refuses_beside_the_field(browser: Client, admin: User) -> None:
    execution = done(make_user(), make_prompt_set())

    browser.post(page("rate", execution.pk), SUBMIT | {"name": "quality", "score": "0.5", "comment": "fine"})

    rating = Feedback.objects.get()
    assert (rating.name, rating.score, rating.comment, rating.user) == ("quality", 0.5, "fine", admin)
    refused = browser.post(page("rate", execution.pk), SUBMIT | {"name": "Not A Name", "score": "1"})
    assert "Lower-case letters" in refused.content.decode()
    assert Feedback.objects.count() == 1


def test_replay_goes_to_the_new_execution(browser: Client, admin: User, provider: Provider) -> None:
    provided_model(provider)
    program = make_program()
    browser.post(page("execute", program.pk), {"input-question": "Why?"})
    first = Execution.objects.get()

    response = browser.post(page("replay", first.pk), SUBMIT)

    again = Execution.objects.exclude(pk=first.pk).get()
    assert response.headers["Location"] == page("change", again.pk)
    assert (again.replay_of, again.input, again.user, again.source) == (first, first.input, admin, "admin")
    refused = browser.post(page("replay", first.pk), SUBMIT | {"program": "nothing"})
    assert "no such program" in (said(refused) + refused.content.decode())
    assert Execution.objects.count() == 2
