"""GraphiQL is there for staff in their browser, and for nobody else."""

from __future__ import annotations

from django.test import Client

from mlops.models import User
from tests.conftest import api_of


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


def test_staff_get_the_page_with_what_it_needs(erin: User) -> None:
    answer = browser_of(erin).get("/graphql/")
    assert answer.status_code == 200
    assert b'data-socket="/graphql/ws/"' in answer.content
    assert answer.cookies["csrftoken"].value
    assert "script-src 'self';" in answer.headers["Content-Security-Policy"]
    assert b"<script>" not in answer.content


def test_for_all_others_nothing_happens_by_get(erin: User, bob: User) -> None:
    assert browser_of(bob).get("/graphql/").status_code == 405
    assert api_of(erin).get("/graphql/", {"query": "{ me { username } }"}).status_code == 405
    assert Client().get("/graphql/").status_code == 401


def test_the_admin_site_leads_to_it(erin: User) -> None:
    browser = browser_of(erin)
    assert b'href="/graphql/"' in browser.get("/admin/").content
    assert b'href="/graphql/"' not in Client().get("/admin/", follow=True).content
