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
    """A page, where it came from, what opens it, and everything about it that nobody should see."""

    page: Page
    address: str
    password: str
    token: str = ""
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
    here.migrate()
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
    _log_in(visit)

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
    with visit.page.expect_navigation():
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


def test_the_page_of_an_import_follows_it_to_its_end(visit: Visit) -> None:
    rows = "".join(f"message {n},reply {n}\n" for n in range(40_000))
    _log_in(visit)
    visit.open("/admin/datasets/dataset/import")
    form = visit.page.locator("form.signet-upload")
    form.locator("[name=file]").set_input_files(
        {"name": "replies.csv", "mimeType": "text/csv", "buffer": f"message,reply\n{rows}".encode()}
    )
    form.locator("[name=name]").fill("replies")
    with visit.page.expect_event("request", lambda asked: asked.url.endswith("/events/")):
        form.get_by_role("button", name="Import").click()

    expect(visit.page.locator(".signet-import[data-events]")).to_have_count(0, timeout=60_000)
    expect(visit.page.locator("#content-main")).to_contain_text("Completed")
    assert visit.complaints == []


def test_a_program_is_evaluated_compiled_and_compared(visit: Visit) -> None:
    """From a dataset to a program proven better, by what a person sees and clicks; both pages follow to the end."""
    page = visit.page
    _log_in(visit)
    visit.open("/admin/datasets/dataset/?q=support_messages&type__exact=validation")
    page.locator("#result_list tbody th a").click()
    expect(page.locator("#content-main")).to_contain_text("170 examples")

    _ask(visit, "Evaluate", {"dataset": "support_messages/validation@1", "metrics": "intent_match@1"})
    summary = page.locator(".signet-evaluation")
    expect(summary.locator("[data-state]")).to_have_text("Completed", timeout=30_000)
    expect(summary).to_contain_text("scored 170 of 170")
    expect(summary.locator(".signet-score")).to_contain_text("35.9 %")
    evaluated = page.url

    sets = {"dataset": "support_messages/training@1", "validation_set": "support_messages/validation@1"}
    choices = {**sets, "metric": "intent_match@1", "optimizer": "labeled_few_shot"}
    _ask(visit, "Compile", choices, {"params": '{"k": 64}'})
    expect(page.get_by_text("Proven better. Submit and deploy the result on its page.")).to_be_visible(timeout=30_000)
    shown = page.locator("#content-main")
    expect(shown).to_contain_text("30 examples better, 8 worse, 132 alike, of 170.")
    expect(shown).to_contain_text("Difference +12.9 points")
    expect(shown).to_contain_text("triage@2 (Draft)")
    expect(page.locator("progress")).to_have_count(0)

    page.get_by_role("link", name="open", exact=True).last.click()
    picker = page.locator("#panel-comparison")
    picker.locator("select").first.select_option(evaluated.split("/")[-3])
    picker.get_by_role("button", name="Compare").click()
    expect(picker).to_contain_text("Better: difference +12.9 points")
    expect(picker).to_contain_text("30 won, 8 lost, 132 equal of 170 pairs.")
    assert page.url.endswith("#panel-comparison")
    assert visit.complaints == []


def _log_in(visit: Visit) -> None:
    """Unless the browser already is."""
    visit.open("/admin/")
    if "/login/" in visit.page.url:
        visit.page.fill("[name=username]", "admin")
        visit.page.fill("[name=password]", visit.password)
        visit.page.click("button[type=submit]")
    expect(visit.page).to_have_title(re.compile("Site administration"))


def _ask(visit: Visit, verb: str, choices: dict[str, str], texts: dict[str, str] | None = None) -> None:
    """Fill the dialog of a button of the program's menu, and send it as far as its own page goes."""
    visit.open("/admin/programs/program/?status__exact=production")
    visit.page.click("#result_list >> text=triage")
    visit.page.locator("a", has_text=re.compile(r"Improve\s")).click()
    visit.page.locator("nav a[hx-get]", has_text=re.compile(rf"\s{verb}\s*$")).click()
    dialog = visit.page.locator("#dialog")
    for name, label in choices.items():
        dialog.locator(f"[name={name}]").select_option(label=label)
    for name, text in (texts or {}).items():
        dialog.locator(f"[name={name}]").fill(text)
    with visit.page.expect_navigation():
        dialog.get_by_role("button", name=verb, exact=True).click()
