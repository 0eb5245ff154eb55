"""What the content security policy forbids nobody misses: pages work in a real browser and break no rule of it."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import expect, sync_playwright

from tests.installation import Installation
from tests.test_browser import CHROMIUM, SWITCHES, Visit

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

TELL_VIOLATIONS = """document.addEventListener('securitypolicyviolation', (broken) =>
    console.error(`policy: ${broken.violatedDirective} ${broken.blockedURI} ${broken.sourceFile}`));"""


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    here = Installation(tmp_path_factory.mktemp("policy"), environment={"SIGNET_LOGIN_ATTEMPTS": "3"})
    here.migrate()
    told = here.manage("load_sample")
    password = re.search(r"with the password (\S+)", told)
    assert password is not None, told
    token = here.manage("create_token", "frank", "--role", "ml_user").split()[-1]
    try:
        here.await_ready(here.start("web", "manage", "serve", "--port", str(here.web_port)))
        with sync_playwright() as driver, driver.chromium.launch(executable_path=CHROMIUM, args=SWITCHES) as browser:
            page = browser.new_page()
            page.add_init_script(TELL_VIOLATIONS)
            visit = Visit(page, here.address, password[1], token)
            _log_in(visit, "admin", visit.password)
            expect(page).to_have_title(re.compile("Site administration"))
            yield visit
    finally:
        here.stop()


@pytest.fixture(autouse=True)
def _fresh(visit: Visit) -> None:
    visit.complaints.clear()


FOLLOWED = 'subscription { executionUpdates(programId: "triage") { state output } }'
WRITTEN = "query => document.querySelector('.graphiql-query-editor .CodeMirror').CodeMirror.setValue(query)"
EXECUTED = """async () => {
    const token = document.getElementById('graphiql').dataset.token;
    const headers = {'X-CSRFToken': token, 'Content-Type': 'application/json'};
    const body = JSON.stringify({input: {message: 'I was charged twice.'}});
    return (await (await fetch('/api/v1/programs/triage/execute/', {method: 'POST', headers, body})).json()).id;
}"""
OF_ONE = 'subscription { executionUpdates(executionId: "%s") { state } }'
AUTHORIZED = """token => document.querySelector('.graphiql-editor-tool .graphiql-editor:not(.hidden) .CodeMirror')
    .CodeMirror.setValue(JSON.stringify({Authorization: `Bearer ${token}`}))"""


def test_graphql_is_tried_and_followed_in_the_browser(visit: Visit) -> None:
    """With the session alone: the schema for its help, a query, and a subscription over WebSocket."""
    page = visit.page
    visit.open("/graphql/")
    answer = page.locator(".result-window")
    page.click(".graphiql-execute-button")
    expect(answer).to_contain_text('"name": "triage"')
    page.click("button[aria-label='Show Documentation Explorer']")
    expect(page.locator(".graphiql-doc-explorer-content")).to_contain_text("Subscription")

    page.evaluate(WRITTEN, FOLLOWED)
    with page.expect_websocket():
        page.click(".graphiql-execute-button")
    expect(page.locator(".graphiql-execute-button[aria-label^=Stop]")).to_be_visible()
    while '"state": "completed"' not in answer.inner_text():  # what ended before it is followed is not told
        assert page.evaluate(EXECUTED)
    assert visit.complaints == []


def test_a_token_among_the_headers_counts_for_queries_and_subscriptions_alike(visit: Visit) -> None:
    """It belongs to somebody who may not see what the session may."""
    page, answer = visit.page, visit.page.locator(".result-window")
    visit.open("/graphql/")
    of_admin = page.evaluate(EXECUTED)
    page.evaluate(WRITTEN, OF_ONE % of_admin)
    page.click(".graphiql-execute-button")
    expect(answer).to_contain_text('"state": "completed"')

    page.click("button:text-is('Headers')")
    page.evaluate(AUTHORIZED, visit.token)
    page.click(".graphiql-execute-button")
    expect(answer).to_contain_text("There is no such execution.")
    page.evaluate(WRITTEN, "{ me { username } }")
    page.click(".graphiql-execute-button")
    expect(answer).to_contain_text('"username": "frank"')
    assert visit.complaints == ["script: Array(1)"]  # GraphiQL throws what a subscription was refused for once more


def test_every_list_and_every_form_of_the_sidebar_is_drawn_within_the_policy(visit: Visit) -> None:
    visit.open("/admin/")
    links = visit.page.evaluate("[...document.querySelectorAll('a')].map(link => link.pathname)")
    addresses = sorted({path for path in links if re.fullmatch(r"/admin/[a-z]+/[a-z]+/", path)})
    assert {"/admin/mlops/user/", "/admin/programs/program/", "/admin/axes/accessattempt/"} <= set(addresses)
    for address in addresses:
        visit.open(address)
        expect(
            visit.page.locator("#changelist, .signet-usage-form")
        ).to_be_visible()  # the usage is a report in place of a list
        if visit.page.locator(f'a[href^="{address}add/"]').count():
            visit.open(f"{address}add/")
            expect(visit.page.locator("form[id$=_form]")).to_be_visible()
    assert visit.complaints == []


def test_a_dialog_opens_and_is_sent(visit: Visit) -> None:
    visit.open("/admin/mlops/user/")
    visit.page.click("#result_list >> text=admin")
    visit.page.locator("a[hx-get]", has_text="Grant credits").click()
    dialog = visit.page.locator("#dialog")
    dialog.locator("[name=amount]").fill("12.5")
    with visit.page.expect_navigation():
        dialog.get_by_role("button", name="Grant credits").click()
    expect(visit.page.get_by_text("Grant credits: done.")).to_be_visible()
    assert visit.complaints == []


def test_swagger_calls_the_api_from_our_own_files(visit: Visit) -> None:
    page = visit.page
    visit.open("/api/docs/")
    operation = page.locator(".opblock").first
    expect(operation).to_contain_text("/api/v1/budgets/", timeout=30_000)
    operation.locator(".opblock-summary-control").click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text("200")
    expect(operation.locator(".live-responses-table")).to_contain_text('"results"')
    assert visit.complaints == []


def test_the_policy_stops_a_script_that_got_into_a_page(visit: Visit) -> None:
    visit.open("/admin/")
    visit.page.evaluate(
        """() => {
            const script = document.createElement('script');
            script.textContent = "document.title = 'taken over'";
            document.body.append(script);
            const button = document.createElement('button');
            button.setAttribute('onclick', "document.title = 'taken over'");
            document.body.append(button);
            button.click();
        }"""
    )
    expect(visit.page).to_have_title(re.compile("Site administration"))
    assert [said for said in visit.complaints if said.startswith("console: policy: script-src-elem inline")]
    assert [said for said in visit.complaints if said.startswith("console: policy: script-src-attr inline")]


def test_somebody_who_is_locked_out_is_told_for_how_long(visit: Visit) -> None:
    """Last, since the browser is logged out."""
    visit.page.context.clear_cookies()
    for _attempt in range(2):
        _log_in(visit, "erin", "wrong")
        expect(visit.page.get_by_text("Please enter the correct username and password")).to_be_visible()
    assert visit.complaints == []
    _log_in(visit, "erin", "wrong")
    expect(visit.page.get_by_text("Too many log-ins failed. Try again in 15 minutes")).to_be_visible()
    assert all("429" in said for said in visit.complaints), visit.complaints
    assert visit.page.request.get(f"{visit.address}/admin/login/").ok

    _log_in(visit, "admin", visit.password)
    expect(visit.page).to_have_title(re.compile("Site administration"))
    visit.open("/admin/axes/accessattempt/?locked_out=yes")
    visit.page.click("#result_list >> text=erin")
    visit.page.locator("a[hx-get]", has_text="Unlock").click()
    with visit.page.expect_navigation():
        visit.page.locator("#dialog").get_by_role("button", name="Unlock").click()
    visit.open("/admin/axes/accessattempt/?locked_out=yes")
    expect(visit.page.locator("#result_list")).to_have_count(0)


def _log_in(visit: Visit, username: str, password: str) -> None:
    visit.open("/admin/login/?next=/admin/")
    visit.page.fill("[name=username]", username)
    visit.page.fill("[name=password]", password)
    visit.page.click("button[type=submit]")
