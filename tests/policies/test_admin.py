"""Every button, form and bulk action of the admin, by everybody; what is switched off is so for everybody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.contrib import admin
from django.core.files.base import File
from django.db import transaction
from django.db.models import Model
from django.test import Client
from django.urls import reverse

from tests.policies.case import Case, all_cases
from tests.policies.edges import OFF, Edge, admin_edges
from tests.policies.observing import Writes, forget
from tests.policies.people import World
from tests.policies.table import READING, STAFF, Person, may
from tests.policies.test_rest import IN_TRANSACTIONS

pytestmark = pytest.mark.django_db

FORMS = ("add", "change")
CONFIRMED = {"_form_submitted": "true", "post": "yes"}


def asked_of() -> Iterator[tuple[Edge, str]]:
    for edge in admin_edges():
        for verb in edge.verbs:
            if verb not in IN_TRANSACTIONS:
                yield edge, verb


def address_of(edge: Edge, row: Model | None) -> str:
    """Inlines are sent with their page, bulk actions to the list. What belongs to no model is the site's own."""
    label, _space, page = edge.name.partition(" ")
    if not page:
        return reverse(f"admin:{label}")
    page = {"inline": "change", "action": "changelist"}.get(page.partition(" ")[0], page)
    is_of_list = page in ("add", "changelist", *page_of(label).actions_list)
    return reverse(f"admin:{label.replace('.', '_')}_{page}", args=[] if is_of_list or row is None else [row.pk])


def page_of(label: str) -> Any:
    return next(page for model, page in admin.site._registry.items() if model._meta.label_lower == label)


def form_of(client: Client, address: str) -> dict[str, Any]:
    """What a browser would send back unchanged."""
    context = client.get(address).context
    forms = [context["adminform"].form]
    for inline in context["inline_admin_formsets"]:
        forms += [inline.formset.management_form, *inline.formset.forms]
    values = {field.html_name: field.value() for form in forms for field in form}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def sent(world: World, edge: Edge, case: Case) -> dict[str, Any]:
    """The form as an admin sees it, filled in; nobody needs to see a form to send it."""
    page = edge.name.partition(" ")[2]
    if page in FORMS or page.startswith("inline"):
        return {**form_of(world.browsers[Person.ADMIN], address_of(edge, case.page or case.row)), **case.form}
    if page.startswith("action"):
        assert case.row is not None
        return {"action": page.removeprefix("action "), "_selected_action": [str(case.row.pk)], **case.form}
    return {**CONFIRMED, **case.form}


def is_refused(answer: Any) -> bool:
    to_login: bool = answer.status_code == 302 and answer.headers["Location"].startswith(reverse("admin:login"))
    return to_login or answer.status_code in (403, 404)


@pytest.mark.parametrize(("edge", "verb"), list(asked_of()), ids=lambda value: getattr(value, "name", value))
def test_edge(edge: Edge, verb: str) -> None:
    world = World.create()
    case = all_cases()[verb](world)
    form = sent(world, edge, case)
    done, refused = set(), set()
    for person in Person:
        forget()
        for value in form.values():
            if isinstance(value, File):
                value.seek(0)
        with transaction.atomic(), Writes() as writes:
            answer = world.browsers[person].post(address_of(edge, case.page or case.row), form)
            transaction.set_rollback(True)
        assert answer.status_code < 500
        if writes or (verb in READING and not is_refused(answer)):
            assert answer.status_code in (302, 204), f"{person}: {answer.status_code} {writes}"
            done.add(person)
        else:
            refused.add(person)
            # A button that is pressed without being offered comes back to the page, with the refusal as a message.
            assert is_refused(answer) or person in STAFF, f"{person}: {answer.status_code}"
    assert done == may(verb, edge.name) & STAFF
    assert done | refused == set(Person)


@pytest.mark.parametrize("edge", [edge for edge in admin_edges() if edge.reason == OFF], ids=lambda edge: edge.name)
def test_what_is_switched_off(edge: Edge) -> None:
    world = World.create()
    label, page = edge.name.split(" ")
    address = reverse(f"admin:{label.replace('.', '_')}_{page}", args=[] if page == "add" else [world.owner.pk])
    with Writes() as writes:
        answer = world.browsers[Person.ADMIN].post(address, CONFIRMED)
    assert not writes
    assert answer.status_code in (302, 403, 404)
    assert getattr(page_of(label), f"{page}_action") is None
