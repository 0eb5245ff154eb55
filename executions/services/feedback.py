"""What people and programs say about an execution."""

from __future__ import annotations

import math
import re
from typing import Any

from django.db import transaction
from django.utils.translation import gettext as _

from executions.models import Execution, Feedback
from executions.policies import execution_policy
from mlops.errors import Invalid
from mlops.models import User
from mlops.sanitiser import refuse_unstorable
from mlops.verbs import verb

NAME = re.compile(r"^[a-z][a-z0-9_-]{0,62}$")
MAX_COMMENT = 10_000


@verb(execution_policy, "rate")
def rate_execution(
    *, actor: User, execution: Execution, name: str, score: float, comment: str = "", expected: Any = None
) -> Feedback:
    """Add a named score between 0 and 1 to an execution. Raises `Invalid` with the field that is wrong."""
    execution_policy.check(actor, "rate", execution)
    if not NAME.fullmatch(name):
        raise Invalid("invalid_name", _("Lower-case letters, digits, - and _, beginning with a letter."), field="name")
    if not math.isfinite(score) or not 0 <= score <= 1:
        raise Invalid("invalid_score", _("A number from 0 to 1."), field="score")
    if len(comment) > MAX_COMMENT:
        raise Invalid("too_long", _("At most 10,000 characters."), field="comment")
    refuse_unstorable(comment, "comment")
    refuse_unstorable(expected, "expected")
    with transaction.atomic():
        return Feedback.objects.create(
            execution=execution, user=actor, name=name, score=score, comment=comment, expected=expected
        )
