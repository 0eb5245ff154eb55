"""The admin in a real browser: a person logs in, executes a program and reads what happened."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from playwright.sync_api import Page, expect, sync_playwright

from tests.installation import Installation

pytestmark = [pytest.mark.browser, pytest.mark.timeout(180)]

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SWITCHES = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MESSAGE = "Where is my parcel? <script>document.title = 'taken over'</script>"


@dataclass
class Visit:
    """A page, where it came from, and everything about it that nobody should see."""

    page: Page
    address: str
    password: str
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda said: self._note(said.type in ("error", "warning"), f"console: {said.text}"))
        self.page.on("pageerror", lambda error: self._note(True, f"script: {error}"))
        self.page.on("request", lambda asked: self._note(self._is_foreign(asked.url), f"foreign: {asked.url}"))
        self.page.on("response", lambda got: self._note(got.status >= 400, f"{got.status}: {got.url}"))

    def _note(self, is_wrong: bool, what: str) -> None:
        if is_wrong:
            self.complaints.append(what)

    def _is_foreign(self, url: str) -> bool:
        return not url.startswith((self.address, "data:", "blob:"))

    def open(self, path: str) -> None:
        self.page.goto(f"{self.address}{path}")


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Visit]:
    if CHROMIUM is None:
        pytest.skip("needs Chromium")
    here = Installation(tmp_path_factory.mktemp("browser"))
    here.manage("migrate", "--noinput")
    told = here.manage("load_sample")
    password = re.search(r"with the password (\S+)", told)
    assert password is not None, told
    try:
        here.await_ready(here.start("web", "manage", "serve", "--port", str(here.web_port)))
        with sync_playwright() as driver, driver.chromium.launch(executable_path=CHROMIUM, args=SWITCHES) as browser:
            yield Visit(browser.new_page(), here.address, password[1])
    finally:
        here.stop()


def test_a_person_logs_in_executes_and_reads_the_trace(visit: Visit) -> None:
    page = visit.page
    visit.open("/admin/")
    page.fill("[name=username]", "admin")
    page.fill("[name=password]", visit.password)
    page.click("button[type=submit]")
    expect(page).to_have_title(re.compile("Site administration"))

    visit.open("/admin/programs/program/")
    page.click("#result_list >> text=triage")
    page.fill("[name=input-message]", MESSAGE)
    page.click("button:text-is('Execute')")

    expect(page.get_by_text("Completed", exact=True)).to_be_visible()
    expect(page.locator(".signet-notice")).to_contain_text("not a language model")
    expect(page.locator(".signet-json").first).to_contain_text(MESSAGE)
    expect(page.locator(".signet-json").nth(1)).to_contain_text('"intent"')
    steps = page.locator(".signet-step")
    expect(steps).to_have_count(2)
    expect(steps.nth(1).locator("pre").last).not_to_be_visible()
    steps.nth(1).locator("summary").click()
    expect(steps.nth(1).locator("pre").last).to_contain_text("[[ ## intent ## ]]")
    assert "taken over" not in page.title()

    visit.open("/admin/programs/program/")
    page.click("#result_list >> text=triage")
    expect(page.locator(".signet-recent")).to_contain_text("Completed")
    assert visit.complaints == []


@pytest.mark.parametrize(
    "model",
    [
        "mlops/user", "mlops/languagemodel", "mlops/creditentry", "datasets/dataset", "datasets/corpus",
        "programs/program", "programs/signature", "programs/promptversion", "programs/deployment",
        "executions/execution",
    ],
)  # fmt: skip
def test_lists_and_first_rows_are_shown_without_a_complaint(visit: Visit, model: str) -> None:
    visit.open(f"/admin/{model}/")
    visit.page.locator("#result_list tbody th a").first.click()
    expect(visit.page.locator("#content-main, #main").first).to_be_visible()
    assert "/change/" in visit.page.url
    assert visit.complaints == []


def test_the_page_of_an_execution_follows_it_to_its_end(visit: Visit) -> None:
    """Asked for asynchronously from within the page, as a script of the same session does."""
    visit.open("/admin/programs/program/")
    visit.page.click("#result_list >> text=triage")
    program = visit.page.url.split("/")[-3]
    execution = visit.page.evaluate(
        """async (address) => {
            const token = document.querySelector('[name=csrfmiddlewaretoken]').value;
            const body = JSON.stringify({input: {message: 'My invoice is wrong'}, options: {mode: 'async'}});
            const headers = {'X-CSRFToken': token, 'Content-Type': 'application/json'};
            return (await (await fetch(address, {method: 'POST', headers, body})).json()).id;
        }""",
        f"/api/v1/programs/{program}/execute/",
    )

    visit.open(f"/admin/executions/execution/{execution}/change/")

    expect(visit.page.get_by_text("Completed", exact=True)).to_be_visible(timeout=20_000)
    assert visit.complaints == []
