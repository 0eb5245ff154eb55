"""Who may do what with an execution. Executing itself is a right on the program (`programs.policies`)."""

from __future__ import annotations

from mlops.policies import Policy, any_of, engineers, owner

execution_policy = Policy(
    "execution",
    {
        "view": any_of(engineers, owner),
        "cancel": any_of(engineers, owner),
        "replay": any_of(engineers, owner),
        "rate": any_of(engineers, owner),
    },
)
