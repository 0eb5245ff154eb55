from __future__ import annotations

import pytest

from executions.runtime.tools import delivery_date, search_knowledge_base
from programs.runtime.tools import NotRegistrable, ToolRefusal, load_custom_modules, load_registered
from programs.types import ToolSpec


@pytest.mark.parametrize(
    ("order_day", "express", "expected"),
    [
        ("2026-11-23", False, "2026-11-30"),  # Monday
        ("2026-11-23", True, "2026-11-24"),
        ("2026-11-27", True, "2026-11-30"),  # Friday
        ("2026-11-28", True, "2026-11-30"),  # Saturday
        ("2026-11-29", False, "2026-12-04"),  # Sunday
        ("2026-12-31", True, "2027-01-01"),
    ],
)
def test_delivery_skips_weekends(order_day: str, express: bool, expected: str) -> None:
    assert delivery_date(order_day, express) == expected


@pytest.mark.parametrize("order_day", ["", "tomorrow", "2026-02-30", "23.11.2026", "9999-12-31"])
def test_delivery_refuses_what_is_no_day(order_day: str) -> None:
    with pytest.raises(ToolRefusal, match="YYYY-MM-DD"):
        delivery_date(order_day)


def test_search_joins_passages() -> None:
    assert search_knowledge_base(lambda query: [query, "two"])("one") == "one\n\ntwo"


def test_loads_declared_tools_by_name() -> None:
    tools = load_registered({"find": "executions.runtime.tools:search_knowledge_base"})
    assert tools["find"].spec == ToolSpec(
        "find", "Searches the knowledge base of the support desk. Gives the passages that fit the query best.", True
    )
    assert tools["find"].needs_corpus


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("executions.runtime.tools", "not of the form"),
        ("executions.runtime.tools:", "not of the form"),
        ("executions.runtime.tools:nothing", "cannot be imported"),
        ("executions.runtime.gone:tool", "cannot be imported"),
        ("json:dumps", "not declared with @tool"),
    ],
)
def test_says_which_tool_cannot_be_registered(path: str, message: str) -> None:
    with pytest.raises(NotRegistrable, match=f"^mine: .*{message}"):
        load_registered({"mine": path})


def test_custom_modules_are_modules() -> None:
    with pytest.raises(NotRegistrable, match=r"mine: json:dumps is not a dspy\.Module"):
        load_custom_modules({"mine": "json:dumps"})
    loaded = load_custom_modules({"mine": "programs.runtime.retrieval:RetrieveModule"})
    assert loaded["mine"].__name__ == "RetrieveModule"
