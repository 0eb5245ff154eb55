"""What mutations are sent whose input is not what the service is called with: money as decimal strings, changes beside
the row that they change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from graphene.utils.str_converters import to_camel_case

from tests.policies.case import Case, all_cases, case
from tests.policies.people import World

Input = Callable[[Case], dict[str, Any]]


def sends(verb: str, input_of: Input) -> None:
    """The mutation of `verb` is sent what `input_of` makes of the verb's case."""

    @case(f"mutation {to_camel_case(verb)}")
    def arrange(world: World) -> Case:
        known = all_cases()[verb](world)
        return replace(known, body=input_of(known))


def row(known: Case) -> str:
    assert known.row is not None
    return str(known.row.pk)


sends("update_user", lambda known: {"user": row(known), "firstName": "Ada"})
sends("grant_credits", lambda known: {"user": row(known), "credits": "1"})
sends("refund_credits", lambda known: {"user": row(known), "credits": "1", "note": "wrong"})
sends("create_token", lambda known: {"name": "new"})
sends("create_budget", lambda known: {"scope": "installation", "period": "day", "limit": "1"})
sends("update_budget", lambda known: {"budget": row(known), "limit": "2"})
sends("update_language_model", lambda known: {"model": row(known), "timeoutS": 7.0})
sends(
    "add_price",
    lambda known: {
        "model": str(known.arguments["model"].pk), "validFrom": known.arguments["valid_from"].isoformat(),
        "inputPrice": "1", "cachedInputPrice": "0.5", "outputPrice": "2",
    },
)  # fmt: skip
sends("refund_execution", lambda known: {"execution": row(known), "credits": "0.00001"})
