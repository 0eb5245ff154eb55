"""The root of the site."""

from __future__ import annotations

from django.test import Client


def test_the_root_leads_to_the_admin_site(client: Client) -> None:
    assert client.get("/").headers["Location"] == "/admin/"
