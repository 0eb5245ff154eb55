"""Who may do what: the conventions' table, verb by verb.

Written by hand from the conventions, never from the policies: tests/policies asks every edge whether it agrees.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from mlops.types import Scope


class Person(StrEnum):
    """Who asks. The owner and the engineer are in the group that the programs of the matrix are limited to."""

    ANONYMOUS = "anonymous"
    DEACTIVATED = "a deactivated admin"
    STRANGER = "an ml_user to whom the row does not belong"
    OWNER = "the ml_user to whom the row belongs"
    OUTSIDER = "an ml_engineer outside of the program's group"
    ENGINEER = "an ml_engineer"
    ADMIN = "an admin"


Persons = frozenset[Person]

NOBODY: Persons = frozenset()
ADMINS: Persons = frozenset({Person.ADMIN})
INSIDE: Persons = ADMINS | {Person.ENGINEER}
"""Engineers, of a program that is limited to a group: those in it."""
ENGINEERS: Persons = INSIDE | {Person.OUTSIDER}
OWN: Persons = INSIDE | {Person.OWNER}
EVERYBODY: Persons = ENGINEERS | {Person.OWNER, Person.STRANGER}
STAFF: Persons = ENGINEERS
"""Whom the admin site lets in at all."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the conventions' table: what is done, who may, and the verbs that do it."""

    action: str
    may: Persons
    verbs: tuple[str, ...]


TABLE = (
    Line("create a program", ENGINEERS, ("create_program", "create_signature")),
    Line(
        "edit, new version, submit, archive a program",
        INSIDE,
        (
            "update_program", "new_version", "submit_program", "archive_program", "validate_program",
            "add_module", "update_module", "remove_module", "add_connection", "remove_connection",
            "create_prompt_version", "activate_prompt_version", "set_prompt", "create_result_version",
            "update_signature", "new_signature_version",
        ),
    ),
    Line("deploy to production, roll back", INSIDE, ("deploy_program", "roll_back_program")),
    Line("execute", OWN, ("execute_program", "aexecute_program", "stream_execution")),
    Line("cancel, replay, rate an execution", OWN, ("cancel_execution", "replay_execution", "rate_execution")),
    Line("delete drafts of a program", INSIDE, ("delete_program",)),
    Line("delete unused rows", ENGINEERS, ("delete_signature", "delete_dataset", "delete_corpus", "delete_metric")),
    Line(
        "datasets, metrics, corpora: read",
        ENGINEERS,
        ("compute_statistics", "overlap", "search_passages", "try_metric"),
    ),
    Line(
        "datasets, metrics, corpora: write",
        ENGINEERS,
        (
            "create_dataset", "update_dataset", "freeze_dataset", "import_dataset", "split_dataset",
            "collect_examples", "create_corpus", "import_corpus", "freeze_corpus", "cancel_import",
            "create_metric", "update_metric", "new_metric_version", "freeze_metric",
        ),
    ),
    Line(
        "evaluate, compile: start, cancel",
        INSIDE,
        (
            "evaluate_program", "estimate_evaluation", "cancel_evaluation", "compare_evaluations",
            "compile_program", "estimate_optimization", "cancel_optimization", "adopt_candidate",
        ),
    ),
    Line("evaluate, compile: make a schedule", ENGINEERS, ("create_schedule",)),
    Line(
        "evaluate, compile: change, delete, run a schedule",
        INSIDE,
        ("change_schedule", "delete_schedule", "run_schedule_now"),
    ),
    Line(
        "language models, prices: write; secrets: set",
        ADMINS,
        (
            "create_language_model", "update_language_model", "delete_language_model",
            "set_fallbacks", "set_default", "ensure_default_model", "set_secret", "rotate_secrets", "add_price",
            "delete_price", "import_prices", "reprice", "apply_repricing", "cancel_repricing",
        ),
    ),
    Line(
        "users, roles, credit grants",
        ADMINS,
        (
            "create_user", "update_user", "set_password", "deactivate_user", "anonymise_user",
            "create_group", "update_group", "delete_group", "grant_credits", "refund_credits", "refund_execution",
            "repair_balance", "unlock_login",
        ),
    ),
    Line("budgets", ADMINS, ("create_budget", "update_budget", "delete_budget")),
    Line("histories: put a record back", INSIDE, ("revert",)),
    Line("own password: change", EVERYBODY, ("change_own_password",)),
    Line("own tokens: make, rotate", frozenset({Person.OWNER}), ("create_token", "rotate_token")),
    Line("own tokens: revoke", ADMINS | {Person.OWNER}, ("revoke_token",)),
)  # fmt: skip

FOR_ONESELF = frozenset({"POST /api/v1/tokens/", "mlops.apitoken add", "mutation createToken"})
"""Edges that act for whoever asks, so that nobody can be the wrong one."""

REVERTED = {
    "users": ADMINS,
    "language-models": ADMINS,
    "budgets": ADMINS,
    "datasets": ENGINEERS,
    "metrics": ENGINEERS,
    "schedules": INSIDE,
}
"""Who may put back records that are no program's: whoever may change them."""

READING = frozenset(
    {
        "validate_program", "compute_statistics", "overlap", "search_passages", "estimate_evaluation",
        "estimate_optimization", "compare_evaluations",
    }
)  # fmt: skip
"""Verbs that need not leave a row behind; what they have calculated may be kept."""

LOOKING = frozenset({"compute_statistics", "overlap", "search_passages", "compare_evaluations"})
"""Verbs for which a token that may read is enough."""

EXECUTING = ("execute", "cancel, replay, rate an execution")
"""The lines for which a token needs the scope `execute`."""


def may(verb: str, edge: str = "") -> Persons:
    """Who may have `verb` done, at `edge` where that makes a difference."""
    if edge in FOR_ONESELF:
        return EVERYBODY
    if (collection := edge.removeprefix("POST /api/v1/").partition("/")[0]) in REVERTED and verb == "revert":
        return REVERTED[collection]
    return next(line.may for line in TABLE if verb in line.verbs)


def scope_of(verb: str) -> Scope:
    """What a token needs to hold to have `verb` done, as docs/tokens.md says it."""
    line = next(line for line in TABLE if verb in line.verbs)
    if verb in LOOKING:
        return Scope.READ
    if line.action in EXECUTING:
        return Scope.EXECUTE
    return Scope.ADMIN if line.may == ADMINS or line.action.startswith("own ") else Scope.ENGINEER
