"""Failed log-ins: who is locked out, for how long, and how an admin lets them in again.

django-axes counts them, in the database: embedded installations have no cache that processes share, and what Redis
holds may go at any time, which would open the lock.
"""

from __future__ import annotations

import logging
from datetime import datetime
from math import ceil

from axes.models import AccessAttempt
from django.conf import settings
from django.db.models import Max, QuerySet
from django.utils import timezone

from mlops.models import User
from mlops.policies import lockout_policy
from mlops.verbs import verb

logger = logging.getLogger(__name__)


@verb(lockout_policy, "unlock")
def unlock_login(*, actor: User, attempt: AccessAttempt) -> None:
    """Forget the failed log-ins of this user name from this address. Raises `Forbidden`."""
    lockout_policy.check(actor, "unlock", attempt)
    _attempts(attempt.username, attempt.ip_address).delete()
    logger.warning("User %s unlocked the log-in of attempt %s", actor.pk, attempt.pk)


def seconds_locked(*, username: str, address: str | None) -> int:
    """How long until this user name may be tried again from this address, at least 1."""
    latest: datetime | None = _attempts(username, address).aggregate(latest=Max("attempt_time"))["latest"]
    if latest is None:
        return 1
    return max(1, ceil((latest + settings.AXES_COOLOFF_TIME - timezone.now()).total_seconds()))


def _attempts(username: str | None, address: str | None) -> QuerySet[AccessAttempt]:
    """One row for each browser that tried."""
    attempts: QuerySet[AccessAttempt] = AccessAttempt.objects.filter(username=username, ip_address=address)
    return attempts
