"""Bearer tokens at the edge of REST."""

from __future__ import annotations

from rest_framework.authentication import BaseAuthentication
from rest_framework.request import Request

from mlops.models import User
from mlops.services.tokens import authenticate_token, bearer_of, cached_actor, token_unknown

__all__ = ["BearerAuthentication", "authenticate_token", "bearer_of", "cached_actor", "token_unknown"]


class BearerAuthentication(BaseAuthentication):
    """`Authorization: Bearer signet_...`. A wrong token is refused; it never falls back to the session."""

    def authenticate(self, request: Request) -> tuple[User, None] | None:
        raw = bearer_of(request.META.get("HTTP_AUTHORIZATION", ""))
        if raw is None:
            return None
        user = authenticate_token(raw)
        if user is None:
            raise token_unknown()
        return user, None

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"
