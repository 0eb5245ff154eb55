"""What strangers may send to any address of the site: nothing breaks, nothing is told, nothing happens.

The addresses come from the URL resolver and from the schema of the API, so that new ones are asked too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, urlencode

import pytest
from django.contrib import admin as admin_site
from django.contrib.contenttypes.models import ContentType
from django.template.response import TemplateResponse
from django.test import Client, RequestFactory
from rest_framework.test import APIClient

from executions.models import UsageDay
from mlops.models import User
from mlops.types import Role
from programs.types import ProgramStatus
from tests.addresses import Operation, all_paths, filled, operations
from tests.conftest import api_of
from tests.factories import make_program, make_token, make_user

pytestmark = pytest.mark.timeout(400)  # thousands of requests, on a machine that may be busy

PASSWORD = "a-long-password"

VALUES = [
    "') or 1=1;drop table mlops_user;--", "\x00", "9" * 40, "nan", "x" * 10_000, "0001-01-01T00:00:00-12:00",
]  # fmt: skip

PAGE_VALUES = ["'", "\x00", "9" * 40, "nan"]
"""For pages, which take longer than lists of the API."""

PARTS = ["'", "\x00", "\ud800", "9" * 40, "..", "x" * 2000]

NOSY = [
    "password",
    "user__password",
    "user__password__startswith",
    "digest",
    "history__password",
    "pk__in",
    "__class__",
]

HEADERS: dict[str, Any] = {
    "HTTP_COOKIE": "sessionid=" + "a" * 100_000,
    "HTTP_AUTHORIZATION": "Bearer " + "\xff" * 50_000,
    "HTTP_ACCEPT_LANGUAGE": "x-" * 40_000,
    "HTTP_ACCEPT": "*/" * 20_000,
    "HTTP_IF_MATCH": "'\\\"" * 1000,
    "HTTP_IF_NONE_MATCH": "\xff" * 1000,
    "HTTP_IDEMPOTENCY_KEY": "k" * 100_000,
    "HTTP_PREFER": "wait=" + "9" * 400,
    "HTTP_LAST_EVENT_ID": "-" + "9" * 400,
    "HTTP_X_REQUEST_ID": "\r\nX-Evil: 1" * 100,
    "HTTP_X_FORWARDED_FOR": "a," * 10_000,
    "HTTP_RANGE": "bytes=-1,-2",
    "HTTP_REFERER": "\xff" * 1000,
    "HTTP_X_CSRFTOKEN": "x" * 100_000,
    "CONTENT_TYPE": "multipart/form-data; boundary=" + "b" * 500,
}


@pytest.fixture
def rows(db: None) -> User:
    """An admin, and a row of each kind that is made in a moment."""
    admin = make_user(Role.ADMIN.value, username="boss", password=PASSWORD)
    make_token(admin)
    make_program(status=ProgramStatus.PRODUCTION.value)
    return admin


@pytest.fixture
def browser(rows: User) -> Client:
    client = Client(raise_request_exception=False)
    client.force_login(rows)
    return client


@pytest.fixture
def rest(rows: User) -> APIClient:
    client = api_of(rows)
    client.raise_request_exception = False
    return client


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages are asked for their rows, and not drawn, which takes ten times as long."""

    def rows_of(response: TemplateResponse) -> str:
        shown = (response.context_data or {}).get("cl")
        return repr(list(shown.result_list)) if shown else ""

    monkeypatch.setattr(TemplateResponse, "rendered_content", property(rows_of))


def lists() -> list[Operation]:
    return [one for one in operations() if one.method == "get" and "{" not in one.path]


def plain_paths() -> list[str]:
    return [path for path in all_paths() if "<" not in path]


def admin_lists() -> Iterator[tuple[str, Any]]:
    """The usage is a form and a report in place of a list: it has neither columns to filter nor to order by."""
    for model, page in admin_site.site._registry.items():
        if model is UsageDay:
            continue
        yield f"/admin/{model._meta.app_label}/{model._meta.model_name}/", page


def query(name: str, value: str) -> str:
    """As a client sends it that does not care whether its text is text."""
    return f"{quote(name)}={quote(value.encode('utf-8', 'surrogatepass'))}"


def broken(client: Client, addresses: Iterable[str], method: str = "get", **extra: Any) -> list[tuple[int, str]]:
    """Which of the addresses answer with an error of ours."""
    answers = ((getattr(client, method)(address, **extra), address) for address in addresses)
    return [(answer.status_code, address[:200]) for answer, address in answers if answer.status_code >= 500]


# Values


def test_no_parameter_of_a_list_of_the_api_breaks_it(rest: APIClient) -> None:
    asked = [(one, name) for one in lists() for name in one.parameters]
    assert len(asked) > 150
    addresses = [f"{one.path}?{query(name, value)}" for one, name in asked for value in VALUES]
    assert broken(rest, addresses) == []


@pytest.mark.usefixtures("undrawn")
def test_no_parameter_of_a_list_of_the_admin_breaks_it(browser: Client, rows: User) -> None:
    request = RequestFactory().get("/")
    request.user = rows
    addresses = []
    for path, page in admin_lists():
        filters = [name for spec in page.get_changelist_instance(request).filter_specs for name in _parameters(spec)]
        for name in {"q", "o", "p", "all", "_facets", "_to_field", "_popup", "e", *filters}:
            addresses += [f"{path}?{query(name, value)}" for value in PAGE_VALUES]
    assert len(addresses) > 500
    assert broken(browser, addresses) == []


def _parameters(spec: Any) -> list[str]:
    return [name for name in spec.expected_parameters() if name]


@pytest.mark.usefixtures("undrawn")
def test_no_part_of_a_path_breaks_an_address(browser: Client) -> None:
    with_variables = [path for path in all_paths() if "<" in path]
    parts = [quote(value.encode("utf-8", "surrogatepass"), safe="") for value in PARTS]
    assert broken(browser, [filled(path, part) for path in with_variables for part in parts]) == []


@pytest.mark.usefixtures("undrawn")
def test_other_pages_bear_every_value(browser: Client) -> None:
    content_type = ContentType.objects.get_for_model(User).pk
    names = {
        "/admin/autocomplete/": ["term", "page", "app_label", "model_name", "field_name"],
        "/admin/search/": ["s", "extended", "page"],
        "/admin/login/": ["next"],
        "/api/schema/": ["lang", "format", "version"],
        "/api/docs/": ["script", "lang"],
    }
    addresses = [f"{path}?{query(name, value)}" for path, some in names.items() for name in some for value in VALUES]
    addresses += [f"/admin/r/{content_type}/{quote(value.encode('utf-8', 'surrogatepass'))}/" for value in VALUES]
    assert broken(browser, addresses) == []


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("header", HEADERS)
def test_no_header_breaks_an_address(browser: Client, rest: APIClient, header: str) -> None:
    given = {header: HEADERS[header]}
    addresses = [*plain_paths(), *(filled(path) for path in all_paths() if path.startswith("/api/") and "<" in path)]
    if header == "CONTENT_TYPE":
        posted = {"data": b"x", "content_type": HEADERS[header]}
        assert broken(browser, addresses, "post", **posted) == []
        return
    assert broken(browser, addresses, **given) == []
    if header != "HTTP_AUTHORIZATION":
        assert broken(rest, [one.path for one in lists()], **given) == []


# Rows and columns of others


@pytest.mark.parametrize("name", NOSY)
def test_lists_are_filtered_and_ordered_by_their_own_columns_only(rest: APIClient, rows: User, name: str) -> None:
    for one in lists():
        if "page_size" not in one.parameters or name in one.parameters:
            continue
        filtered = rest.get(f"{one.path}?{query(name, rows.password[:5])}")
        assert filtered.status_code == 400, one.path
        assert filtered.json()["code"] == "unknown_parameter"
        for sign in ("", "-"):
            ordered = rest.get(f"{one.path}?{query('ordering', sign + name)}")
            assert ordered.status_code == 400, one.path
            assert ordered.json()["code"] in (
                "ordering_unknown",
                "unknown_parameter",
            )  # a report has no order to choose


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("lookup", ["password__startswith", "user__password__startswith", "users__password__regex",
                                    "user__api_tokens__digest__startswith", "owner__password__contains"])  # fmt: skip
def test_lists_of_the_admin_tell_nothing_by_their_filters(browser: Client, rows: User, lookup: str) -> None:
    """A right and a wrong guess of what a row keeps secret get the same answer."""
    for path, _page in admin_lists():
        guesses = [browser.get(f"{path}?{query(lookup, guess)}") for guess in (rows.password[:8], "wrong")]
        assert {answer.status_code for answer in guesses} <= {302, 400}, path
        assert guesses[0].status_code == guesses[1].status_code


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("name", ["password", "user__password", "-1.9.x", "999", "1.1.1.1"])
def test_lists_of_the_admin_are_ordered_by_what_they_show(browser: Client, name: str) -> None:
    for path, _page in admin_lists():
        answer = browser.get(f"{path}?{query('o', name)}")
        assert answer.status_code == 200, path
        shown: dict[str, Any] = answer.context_data or {}
        ordering = " ".join(map(str, shown["cl"].queryset.query.order_by))
        assert "password" not in ordering


def test_no_answer_holds_a_hash(browser: Client, rest: APIClient, rows: User) -> None:
    for address in plain_paths():
        body = browser.get(address).getvalue().decode()
        assert rows.password not in body, address
    for one in lists():
        assert rows.password not in rest.get(one.path).content.decode(), one.path


# Requests that others make a browser send


def test_no_page_of_the_admin_takes_a_form_without_its_token(rows: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(rows)
    paths = [filled(path) for path in all_paths() if path.startswith("/admin/")]
    assert len(paths) > 100
    for path in paths:
        assert client.post(path, {"_form_submitted": "True", "post": "yes"}).status_code == 403, path
    assert client.get("/admin/").status_code == 200  # nobody was logged out


def test_no_verb_of_the_api_is_done_for_a_session_without_its_token(rows: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(rows)
    writes = [one for one in operations() if one.method != "get"]
    assert len(writes) > 50
    for one in writes:
        answer = getattr(client, one.method)(one.address(), data=b"{}", content_type="application/json")
        assert (answer.status_code, "CSRF" in answer.json()["detail"]) == (403, True), (one.method, one.path)


def test_a_token_of_the_form_is_taken_from_our_own_pages_only(rows: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(rows)
    client.get("/admin/mlops/user/add/")
    token = client.cookies["csrftoken"].value
    sent: dict[str, Any] = {"data": b"{}", "content_type": "application/json", "HTTP_X_CSRFTOKEN": token}
    for path in ("/api/v1/users/", "/api/v1/programs/nothing/execute/"):
        own = client.post(path, **sent, HTTP_ORIGIN="http://testserver")
        foreign = client.post(path, **sent, HTTP_ORIGIN="https://evil.example.org")
        assert own.status_code in (400, 404)
        assert (foreign.status_code, "CSRF" in foreign.json()["detail"]) == (403, True)


@pytest.mark.usefixtures("undrawn")
def test_a_get_changes_nothing(browser: Client, rows: User) -> None:
    """Every address of a row, fetched as an image on a foreign page would have it fetched."""
    before = _state()
    for path in all_paths():
        if "<" in path and not path.endswith("/events/"):
            browser.get(filled(path, str(rows.pk)))
    assert _state() == before


def _state() -> list[str]:
    """All rows, but for when a token was used: that is what every request tells."""
    rows = (row for model in admin_site.site._registry for row in model._default_manager.values())
    return sorted(repr({**row, "last_used_at": None}) for row in rows)


@pytest.mark.parametrize("override", [{"HTTP_X_HTTP_METHOD_OVERRIDE": "DELETE"}, {"HTTP_X_HTTP_METHOD": "DELETE"}])
def test_the_method_is_the_one_of_the_request_line(rest: APIClient, rows: User, override: dict[str, Any]) -> None:
    made = rest.post("/api/v1/language-models/", {"name": "openai/one"}).json()
    address = f"/api/v1/language-models/{made['id']}/"
    assert rest.post(address, {"_method": "DELETE"}, **override).status_code == 405
    assert rest.get(address, **override).status_code == 200
    assert rest.get(f"{address}?_method=DELETE").status_code == 400
    assert rest.get(address).status_code == 200


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("method", ["TRACE", "CONNECT", "PROPFIND", "DROP"])
def test_strange_methods_do_nothing(browser: Client, rest: APIClient, method: str) -> None:
    before = _state()
    statuses = {rest.generic(method, one.path).status_code for one in lists()}
    assert statuses == {405}
    assert [path for path in plain_paths() if browser.generic(method, path).status_code >= 500] == []
    assert _state() == before


# Where a person is sent

FOREIGN = [
    "https://evil.example.org/", "//evil.example.org", "/\\evil.example.org", "\\\\evil.example.org",
    "///evil.example.org", "http:///evil.example.org", "https:evil.example.org", "javascript:alert(1)",
    "\x08//evil.example.org", "//evil.example.org/%2e%2e", "http://testserver@evil.example.org/",
    "/\t/evil.example.org",
    "data:text/html,<script>alert(1)</script>",
]  # fmt: skip


@pytest.mark.parametrize("address", FOREIGN)
def test_a_log_in_leads_nowhere_else(rows: User, address: str) -> None:
    for path in ("/admin/login/", f"/admin/login/?{query('next', address)}"):
        client = Client()
        answer = client.post(path, {"username": "boss", "password": PASSWORD, "next": address})
        assert (answer.status_code, answer.headers["Location"]) == (302, "/admin/")
        assert client.get(f"/admin/login/?{query('next', address)}").headers["Location"] == "/admin/"
        left = client.post("/admin/logout/", {"next": address})
        assert left.status_code == 200 or left.headers["Location"].startswith("/admin/")


@pytest.mark.parametrize(
    "path",
    ["//evil.example.org", "//evil.example.org/..", "/%5cevil.example.org", "//evil.example.org/admin",
     "/admin//evil.example.org", "/%2f%2fevil.example.org/%2e%2e", "/admin", "/api/v1/users"],
)  # fmt: skip
def test_no_path_is_redirected_off_the_site(browser: Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code in (301, 302, 400, 404)
    location = answer.headers.get("Location", "/")
    assert re.match(r"/(?![/\\])", location), location


@pytest.mark.usefixtures("undrawn")
def test_every_redirect_stays_on_the_site(rows: User, browser: Client) -> None:
    for client in (browser, Client(raise_request_exception=False)):
        for path in all_paths():
            answer = client.get(f"{filled(path)}?next=//evil.example.org&_changelist_filters=//evil.example.org")
            assert re.match(r"/(?![/\\])", answer.headers.get("Location", "/")), path


# Hosts


@pytest.mark.parametrize(
    "host", ["evil.example.org", "evil.example.org:80", "testserver.evil.example.org", "a b", "'", ""]
)
def test_a_foreign_host_is_refused_and_never_repeated(rest: APIClient, browser: Client, host: str) -> None:
    for path in plain_paths():
        for client in (browser, rest):
            answer = client.get(path, HTTP_HOST=host)
            is_probe = path in ("/healthz", "/readyz")
            assert is_probe or answer.status_code == 400, path
            assert "evil.example.org" not in answer.getvalue().decode()
            assert "evil.example.org" not in str(dict(answer.headers))


def test_no_header_makes_us_name_another_host(rest: APIClient, rows: User) -> None:
    foreign: dict[str, Any] = {"HTTP_X_FORWARDED_HOST": "evil.example.org", "HTTP_X_HOST": "evil.example.org",
               "HTTP_FORWARDED": "host=evil.example.org;proto=https", "HTTP_X_FORWARDED_PROTO": "https",
               "HTTP_X_ORIGINAL_URL": "/admin/", "HTTP_X_REWRITE_URL": "/admin/"}  # fmt: skip
    made = rest.post("/api/v1/users/", {"username": "made"}, **foreign)
    assert made.headers["Location"] == f"http://testserver/api/v1/users/{made.json()['id']}/"
    for number in range(3):
        make_user(username=f"more{number}")
    page = rest.get("/api/v1/users/?page_size=2", **foreign).json()
    assert page["next"].startswith("http://testserver/api/v1/users/")
    assert b"evil.example.org" not in rest.get("/api/docs/", **foreign).content


# What browsers are told


@pytest.mark.usefixtures("undrawn")
def test_every_answer_is_guarded(browser: Client, rest: APIClient) -> None:
    for client in (browser, rest, Client(raise_request_exception=False)):
        for path in all_paths():
            headers = client.get(filled(path)).headers
            policy = headers["Content-Security-Policy"]
            assert "frame-ancestors 'none'" in policy, path
            assert "base-uri 'none'" in policy
            assert "default-src 'none'" in policy
            assert ("'unsafe-eval'" in policy) == path.startswith("/admin/"), path
            assert "script-src 'self' 'unsafe-inline'" not in policy
            assert headers["X-Frame-Options"] == "DENY"
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "same-origin"
            assert headers["Cross-Origin-Opener-Policy"] == "same-origin"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
            assert "camera=()" in headers["Permissions-Policy"]
            assert "Access-Control-Allow-Origin" not in headers


@pytest.mark.usefixtures("undrawn")
def test_pages_of_one_person_are_kept_by_no_cache(browser: Client) -> None:
    for path in plain_paths():
        assert "no-store" in browser.get(path).headers["Cache-Control"], path


# Files


@pytest.mark.parametrize(
    "path",
    ["/static/../config/settings.py", "/static/%2e%2e/config/settings.py", "/static/..%2f..%2f..%2fetc/passwd",
     "/static//etc/passwd", "/static/%00", "/static/mlops/%2e%2e/%2e%2e/%2e%2e/manage.py", "/.env", "/var/secret_key",
     "/api/v1/../../admin/", "/admin/%2e%2e/.env", "/admin/;/login/", "/ADMIN/mlops/user/", "/admin/mlops/user/%ff"],
)  # fmt: skip
def test_no_path_leads_out_of_the_site(browser: Client, path: str) -> None:
    answer = browser.get(path)
    assert answer.status_code in (301, 302, 400, 404), path
    assert not re.search(r"root:|SECRET_KEY|DJANGO_SETTINGS_MODULE", answer.getvalue().decode(errors="replace"))


def test_a_form_with_very_many_fields_is_refused(browser: Client) -> None:
    many = urlencode([(f"f{number}", "1") for number in range(2000)])
    answer = browser.post("/admin/login/", many, content_type="application/x-www-form-urlencoded")
    assert answer.status_code == 400
