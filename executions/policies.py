"""Who may do what with executions and metrics. Executing itself is a right on the program (`programs.policies`)."""

from __future__ import annotations

from mlops.policies import Policy, admins, any_of, engineers, of_programs, owner
from mlops.types import Scope
from programs.policies import VisiblePolicy, as_program, inside_engineers, of_its_program, program_policy

inside_or_own = any_of(as_program("change"), owner)
"""Engineers whom the program's group lets know of it, and whose execution it is."""

execution_policy = Policy(
    "execution",
    {
        "view": inside_or_own,
        "cancel": inside_or_own,
        "replay": inside_or_own,
        "rate": inside_or_own,
        "collect": engineers,
        "refund": admins,
    },
    scopes=dict.fromkeys(("cancel", "replay", "rate"), Scope.EXECUTE),
    reach=of_its_program,
)

feedback_policy = Policy(
    "feedback",
    {"view": lambda actor, row: inside_or_own(actor, None if row is None else row.execution)},
    reach=of_programs(lambda feedback: feedback.execution.program.name),
)

metric_policy = Policy(
    "metric",
    {
        "view": engineers,
        "create": engineers,
        "change": engineers,
        "new_version": engineers,
        "freeze": engineers,
        "try": engineers,
        "delete": engineers,
    },
)

# As with everything of a program, what it scored is known only to whom its group lets know of it.
evaluation_policy = VisiblePolicy(
    "evaluation",
    {
        "view": as_program("change"),
        "cancel": as_program("change"),
        "compare": as_program("change"),
    },
    scopes={"compare": Scope.READ},
    reach=of_its_program,
)

evaluating_policy = Policy("program", {"evaluate": inside_engineers}, reach=program_policy.reach)
"""The right to evaluate a program."""

repricing_policy = Policy("repricing", {"view": engineers, "start": admins, "apply": admins, "cancel": admins})
