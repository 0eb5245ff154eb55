"""Rate limits at the edge of REST."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from mlops.models import User
from mlops.services.rates import check_rate

if TYPE_CHECKING:
    from rest_framework.views import APIView  # which reads the settings that name the class below


class RateThrottle(BaseThrottle):
    """Counts the requests of whoever is known to be asking."""

    def allow_request(self, request: Request, view: APIView) -> bool:
        if isinstance(request.user, User):
            check_rate(request.user)
        return True
