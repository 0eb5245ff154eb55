"""The admin pages of optimizations: begun on a program's page, watched, cancelled, and read to the last prompt."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from mlops.models import User
from optimizations.models import Optimization
from programs.models import Program
from tests.optimizations import compiling
from tests.optimizations.compiling import make_dataset, make_metric, make_program, start, worked

pytestmark = pytest.mark.django_db(transaction=True)

SUBMIT = {"_form_submitted": "true"}


@pytest.fixture
def browser(erin: User) -> Client:
    client = Client()
    client.force_login(erin)
    return client


def text_of(client: Client, address: str) -> str:
    response = client.get(address)
    assert response.status_code == 200
    return str(response.content.decode())


def said(response: Any) -> str:
    return " ".join(str(message) for message in get_messages(response.wsgi_request))


def page(model: str, verb: str, *args: object) -> str:
    return reverse(f"admin:optimizations_{model}_{verb}", args=args)


def dialog(erin: User, **changes: Any) -> dict[str, Any]:
    given = {
        "dataset": make_dataset(erin, 12).pk,
        "validation_set": make_dataset(erin, 6, type="validation", offset=100).pk,
        "metric": make_metric(erin).pk,
        "optimizer": "labeled_few_shot",
        "params": '{"k": 4}',
        "seed": 0,
    }
    return {**SUBMIT, **given, **changes}


def test_a_compile_begins_on_the_page_of_the_program(erin: User, browser: Client) -> None:
    compiling.matcher()
    program = make_program(erin)
    address = reverse("admin:programs_program_change", args=[program.pk])
    assert "Estimate a compile" in text_of(browser, address)
    button = f"{address.removesuffix('change/')}compile/"
    assert "knn" not in text_of(browser, button)

    answer = browser.post(button, dialog(erin, cost="1.50"))
    job = Optimization.objects.get()
    assert answer["Location"] == page("optimization", "change", job.pk)
    assert (job.program, job.params, job.budget, job.user) == (
        program,
        {"k": 4, "sample": True},
        {"cost": 1_500_000_000_000},
        erin,
    )
    assert "Latest optimizations" in text_of(browser, address)


def test_what_is_refused_is_said_and_nothing_begins(erin: User, browser: Client) -> None:
    compiling.matcher()
    program = make_program(erin)
    button = f"{reverse('admin:programs_program_change', args=[program.pk]).removesuffix('change/')}compile/"
    answer = browser.post(button, dialog(erin, calls=1))
    assert "it needs at least 12 model calls" in said(answer) + answer.content.decode()
    answer = browser.post(button, dialog(erin, params='{"k": 0}'))
    assert "do not fit the optimizer" in said(answer)
    assert not Optimization.objects.exists()


def test_an_estimate_is_told_and_starts_nothing(erin: User, browser: Client) -> None:
    compiling.matcher()
    program = make_program(erin)
    button = f"{reverse('admin:programs_program_change', args=[program.pk]).removesuffix('change/')}estimate_compile/"
    answer = browser.post(button, dialog(erin, validation_set=""))
    assert "Model calls: " in said(answer)
    assert "split off" in said(answer)
    assert not Optimization.objects.exists()


def test_the_page_of_an_optimization_says_how_it_stands_and_how_it_ended(erin: User, browser: Client) -> None:
    compiling.matcher()
    validation = make_dataset(erin, 12, type="validation", offset=100)
    job = start(erin, dataset=make_dataset(erin, 24), validation_set=validation, params={"k": 12})
    pending = text_of(browser, page("optimization", "change", job.pk))
    assert reverse("optimization-events", args=[job.pk]) in pending

    job = worked(job)
    ended = text_of(browser, page("optimization", "change", job.pk))
    assert 'data-events=""' in ended
    assert str(job.result_program) in ended
    assert "interval" in ended
    assert "roven better" in ended
    assert str(job.pk) in text_of(browser, page("optimization", "changelist"))

    candidate = job.candidates.get()
    shown = text_of(browser, page("candidate", "change", candidate.pk))
    assert "Say what the customer wants." in shown
    assert "my card is lost, case 0" in shown or "case" in shown
    assert browser.get(page("candidate", "changelist")).status_code == 200
    answer = browser.post(f"{page('candidate', 'change', candidate.pk).removesuffix('change/')}adopt/", SUBMIT)
    made = Program.objects.get(name=job.program.name, version=3)
    assert answer["Location"] == reverse("admin:programs_program_change", args=[made.pk])


def test_a_pending_one_is_cancelled_by_its_button(erin: User, browser: Client) -> None:
    compiling.matcher()
    job = start(erin)
    browser.post(f"{page('optimization', 'change', job.pk).removesuffix('change/')}cancel/", SUBMIT)
    assert Optimization.objects.get().state == "cancelled"
    assert "Cancelled." in text_of(browser, page("optimization", "change", job.pk))


def test_whatever_people_and_models_wrote_is_text(erin: User, browser: Client) -> None:
    compiling.matcher()
    job = worked(start(erin, params={"k": 2}))
    candidate = job.candidates.get()
    candidate.state["classify"]["instructions"] = "<script>alert(1)</script>"
    candidate.label = "<b>bold</b>"
    candidate.save()
    shown = text_of(browser, page("candidate", "change", candidate.pk))
    assert "<script>alert(1)" not in shown
    assert "<b>bold</b>" not in text_of(browser, page("optimization", "change", job.pk))
