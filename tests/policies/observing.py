"""What a call did: which rights it asked, and which rows it wrote."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from executions.services import planning
from mlops.policies import Policy
from mlops.selectors import forget_language_models
from mlops.services.tokens import forget_tokens

NOT_OURS = ("django_session", 'UPDATE "mlops_apitoken" SET "last_used_at"')
_WRITE = re.compile(r"^\s*(INSERT|UPDATE|DELETE|REPLACE)\b", re.IGNORECASE)


def forget() -> None:
    """Caches of this process do not hear of what is rolled back."""
    forget_tokens()
    forget_language_models()
    planning.forget()


class Writes:
    """The statements of a block that change rows, those of sessions and of a token's last use left out."""

    def __init__(self) -> None:
        self._captured = CaptureQueriesContext(connection)

    def __enter__(self) -> Writes:
        self._captured.__enter__()
        return self

    def __exit__(self, *ending: Any) -> None:
        self._captured.__exit__(*ending)

    @property
    def found(self) -> list[str]:
        statements = [query["sql"] for query in self._captured.captured_queries]
        return [sql for sql in statements if _WRITE.match(sql) and not any(word in sql for word in NOT_OURS)]

    def __bool__(self) -> bool:
        return bool(self.found)

    def __str__(self) -> str:
        return "; ".join(sql[:120] for sql in self.found) or "no write"


class Asked:
    """The rights that were asked since the last look."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._asked: set[tuple[Policy, str]] = set()
        can = Policy.can

        def noting(policy: Policy, actor: Any, action: str, row: Any = None) -> bool:
            self._asked.add((policy, action))
            return can(policy, actor, action, row)

        monkeypatch.setattr(Policy, "can", noting)

    def has(self, policy: Policy, action: str) -> bool:
        """Whether it was asked; forgets what was."""
        found, self._asked = self._asked, set()
        return (policy, action) in found
