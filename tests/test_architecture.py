"""The rules of the house that import-linter cannot see."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.core.management import call_command

from config.env import Environment
from mlops.types import ModelErrorCode
from tests.error_codes import OF_MODELS, codes_in_use, page
from tests.sources import APPS, ROOT, all_files, modules_of

EDGES = ("api", "graphql", "admin", "admin.py", "tasks.py", "tasks", "management")
WRITERS = ("services", "services.py")
ROW_WRITES = {"save", "create", "delete", "bulk_create", "bulk_update", "get_or_create", "update_or_create"}
MACHINE_PATH = re.compile(r"(?<![\w.~:/])/(?:root|home|work|Users|mnt)/\w")


def room_of(path: Path) -> str:
    """The room of its app that a file stands in: `api`, `services`, `models.py`."""
    return path.relative_to(ROOT).parts[1]


def calls_in(path: Path) -> Iterator[tuple[ast.Call, str, str]]:
    """Each method call of a file, with its receiver as written and the method's name."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node, ast.unparse(node.func.value), node.func.attr


def writes_rows(receiver: str, method: str) -> bool:
    """Whether a call changes rows; `update` is a dictionary's as well, so it counts on querysets only."""
    if method == "update":
        return bool(re.search(r"objects|queryset|visible_to|\bfilter\(|\brows\b", receiver))
    return method in ROW_WRITES and not receiver.endswith("services")


def test_edges_write_no_rows() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{call.lineno}: {receiver}.{method}()"
        for app in APPS
        for path in modules_of(app)
        if room_of(path) in EDGES
        for call, receiver, method in calls_in(path)
        if writes_rows(receiver, method)
    ]
    assert not found, "write through a service"


@pytest.mark.parametrize(
    ("receiver", "method", "expected"),
    [
        ("row", "save", True),
        ("Program.objects", "create", True),
        ("self.get_queryset()", "update", True),
        ("Program.objects.filter(pk=1)", "delete", True),
        ("context", "update", False),
        ("services", "create", False),
    ],
)
def test_the_rule_of_edges_tells_rows_from_dictionaries(receiver: str, method: str, expected: bool) -> None:
    assert writes_rows(receiver, method) is expected


def test_states_change_in_services_only() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for app in APPS
        for path in modules_of(app)
        if room_of(path) not in WRITERS
        for line in lines_that_set_a_state(path)
    ]
    assert not found, "call the transition, in a service"


def lines_that_set_a_state(path: Path) -> Iterator[int]:
    for call, _receiver, method in calls_in(path):
        if method == "update" and {keyword.arg for keyword in call.keywords} & {"status", "state"}:
            yield call.lineno
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Assign):
            names = {target.attr for target in node.targets if isinstance(target, ast.Attribute)}
            if names & {"status", "state"}:
                yield node.lineno


def test_the_example_of_the_environment_lists_every_variable_and_no_other() -> None:
    listed = re.findall(r"^#?([A-Z][A-Z0-9_]*)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(name.upper() for name in Environment.model_fields)


def test_every_error_code_is_documented() -> None:
    assert (ROOT / "docs" / "errors.md").read_text() == page(), "make snapshot"


def test_the_page_of_error_codes_is_read_from_the_code() -> None:
    codes = {code.code for code in codes_in_use()}
    assert {"program_not_found", "unstorable_text", "dataset_in_use", "<name>_<action>_forbidden"} <= codes


def test_every_way_in_which_a_model_call_fails_is_explained() -> None:
    assert set(OF_MODELS) == set(ModelErrorCode)


@pytest.mark.django_db
def test_migrations_are_complete() -> None:
    call_command("makemigrations", "--check", "--dry-run", verbosity=0)


def test_no_path_of_a_machine_is_written_down() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in all_files()
        if path.suffix != ".jsonl" and MACHINE_PATH.search(path.read_text(errors="ignore"))
    ]
    assert not found


def test_links_of_the_documents_lead_somewhere() -> None:
    broken = [
        f"{page.relative_to(ROOT)}: {target}"
        for page in all_files()
        if page.suffix == ".md"
        for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert not broken
