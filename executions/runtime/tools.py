"""Tools of the sample workspace."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, timedelta

from programs.runtime.tools import Search, ToolRefusal, tool

EXPRESS_DAYS = 1
NORMAL_DAYS = 5
_SATURDAY = 5


@tool(
    description="Searches the knowledge base of the support desk. Gives the passages that fit the query best.",
    repeatable=True,
    needs_corpus=True,
)
def search_knowledge_base(search: Search) -> Callable[[str], str]:
    """Searches the corpus of the module that uses the tool."""

    def search_knowledge_base(query: str) -> str:
        passages = search(query)
        return "\n\n".join(passages) or "Nothing was found."

    return search_knowledge_base


@tool(
    description="Says by which day an order arrives in the EU. order_day is the day of the order as YYYY-MM-DD.",
    repeatable=True,
)
def delivery_date(order_day: str, express: bool = False) -> str:
    """The latest day of delivery in the EU as YYYY-MM-DD: the next working day for an express order, else the fifth."""
    try:
        day = _business_days_after(date.fromisoformat(order_day), EXPRESS_DAYS if express else NORMAL_DAYS)
    except (ValueError, OverflowError) as error:
        raise ToolRefusal("order_day is a day in the form YYYY-MM-DD.") from error
    return day.isoformat()


def _business_days_after(day: date, count: int) -> date:
    while count:
        day += timedelta(days=1)
        count -= day.weekday() < _SATURDAY
    return day
