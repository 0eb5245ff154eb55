"""Bearer tokens: made once, kept as digests, known to this process for a few seconds."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TypeAlias

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.caching import ShortCache
from mlops.errors import Invalid
from mlops.models import ApiToken, User
from mlops.policies import token_policy
from mlops.sanitiser import refuse_unstorable
from mlops.services.locking import locked

CACHE_SECONDS = 5.0
"""A right that is taken away stops working everywhere within this time, at once in the process that took it."""

USE_IS_NOTED_EVERY = timedelta(minutes=1)
MAX_NAME = 100

# Unknown tokens are kept apart, so that a flood of them cannot push out the known ones.
_known: ShortCache[str, User] = ShortCache(seconds=CACHE_SECONDS, size=10_000)
_unknown: ShortCache[str, None] = ShortCache(seconds=CACHE_SECONDS, size=10_000)

InThread: TypeAlias = Callable[[Callable[[], User | None]], Awaitable[User | None]]


def create_token(*, actor: User, user: User, name: str, expires_at: datetime | None = None) -> tuple[ApiToken, str]:
    """A new token of `user` and its raw form `signet_<prefix>_<secret>`, which is nowhere kept and never shown again.

    Raises `Forbidden`, or `Invalid` (`token_name_missing`, `token_name_too_long`, `token_already_expired`).
    """
    token_policy.check(actor, "create", ApiToken(user=user))
    refuse_unstorable(name, "name")
    _refuse_bad_token(name.strip(), expires_at)
    prefix = secrets.token_hex(4)
    raw = f"signet_{prefix}_{secrets.token_hex(24)}"
    token = ApiToken.objects.create(
        user=user, name=name.strip(), prefix=prefix, digest=_digest(raw), expires_at=expires_at
    )
    forget_tokens()
    return token, raw


def _refuse_bad_token(name: str, expires_at: datetime | None) -> None:
    if not name:
        raise Invalid("token_name_missing", _("A token needs a name."), field="name")
    if len(name) > MAX_NAME:
        raise Invalid("token_name_too_long", _("A token's name has at most 100 characters."), field="name")
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid("token_already_expired", _("The expiry lies in the past."), field="expires_at")


def revoke_token(*, actor: User, token: ApiToken) -> ApiToken:
    """Make `token` useless for ever; repeating it changes nothing. Raises `Forbidden`."""
    token_policy.check(actor, "revoke", token)
    with transaction.atomic():
        token = locked(token)
        if token.revoked_at is None:
            token.revoked_at = timezone.now()
            token.save(update_fields=["revoked_at", "updated_at"])
        forget_tokens_on_commit()
    return token


def authenticate_token(raw: str) -> User | None:
    """Whose usable token `raw` is, or None. Reads the database at most once in 5 s per token and process.

    The row is a copy for the caller; its balance may be 5 s old.
    """
    found = _remembered(raw)
    if found is None:
        user = _looked_up(raw)
        return None if user is None else copy.copy(user)
    return found[0]


async def cached_actor(raw: str, in_thread: InThread | None = None) -> User | None:
    """`authenticate_token` for the event loop: takes a thread (of `in_thread` if given) only to look it up.

    The row is shared by all who ask: it is to be read only.
    """
    if found := _shared(raw):
        return found[0]
    if in_thread is not None:
        return await in_thread(lambda: authenticate_token(raw))
    return await sync_to_async(authenticate_token)(raw)


def forget_tokens() -> None:
    """Drop what this process knows of tokens and their owners."""
    _known.forget()
    _unknown.forget()


def forget_tokens_on_commit() -> None:
    """Drop it now, for this transaction's own eyes, and once more when the change is there for all."""
    forget_tokens()
    transaction.on_commit(forget_tokens)


def _remembered(raw: str) -> tuple[User | None] | None:
    found = _shared(raw)
    return found and (copy.copy(found[0]),)


def _shared(raw: str) -> tuple[User | None] | None:
    digest = _digest(raw)
    return _known.get(digest) or _unknown.get(digest)


def _looked_up(raw: str) -> User | None:
    digest = _digest(raw)
    if not raw.startswith("signet_"):
        return None
    try:
        return _known.get_or_load(digest, lambda: _owner(digest))
    except ApiToken.DoesNotExist:
        return _unknown.get_or_load(digest, lambda: None)


def _owner(digest: str) -> User:
    token = ApiToken.objects.usable().select_related("user").get(digest=digest)
    now = timezone.now()
    due = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_IS_NOTED_EVERY)
    if token.last_used_at is None or now - token.last_used_at > USE_IS_NOTED_EVERY:
        ApiToken.objects.filter(due, pk=token.pk).update(last_used_at=now)
    owner: User = token.user
    return owner


def _digest(raw: str) -> str:
    # "surrogatepass": whatever a client sends has a digest, it is just nobody's.
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
