"""Bearer tokens: made once, kept as digests, known to this process for a few seconds."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from datetime import datetime, timedelta
from typing import TypeAlias, TypedDict, Unpack

from asgiref.sync import sync_to_async
from django.db import transaction
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext as _

from mlops.caching import ShortCache
from mlops.errors import Conflict, Unauthenticated
from mlops.models import ApiToken, User
from mlops.policies import token_policy
from mlops.services import token_limits
from mlops.services.locking import locked
from mlops.types import Grant, Scope
from mlops.verbs import verb

CACHE_SECONDS = 4.0
"""A right that is taken away stops working everywhere within 5 s: requests believe this long what was looked up, and
last a little themselves. In the process that took the right away it stops at once."""

USE_IS_NOTED_EVERY = timedelta(minutes=1)
OVERLAP = timedelta(hours=24)

# Unknown tokens are kept apart, so that a flood of them cannot push out the known ones.
_known: ShortCache[str, User] = ShortCache(seconds=CACHE_SECONDS, size=10_000)
_unknown: ShortCache[str, None] = ShortCache(seconds=CACHE_SECONDS, size=10_000)

InThread: TypeAlias = Callable[[Callable[[], User | None]], Awaitable[User | None]]


class Limits(TypedDict, total=False):
    """What a token is limited to. Scopes: all by default. Names of programs: none means all. Requests per minute: None
    means that only the user's own limit holds. `expires_at`: None means never. Made by a token: as that by default."""

    scopes: Sequence[str]
    programs: Sequence[str]
    rate_limit: int | None
    expires_at: datetime | None


@verb(token_policy, "create")
def create_token(*, actor: User, user: User, name: str, **limits: Unpack[Limits]) -> tuple[ApiToken, str]:
    """A new token of `user` and its raw form `signet_<prefix>_<secret>`, which is nowhere kept and never shown again.

    An actor who came with a token themselves makes none that may do more or that lives longer; what is not said is as
    in their own, and when that is revoked, what it made is too. Raises `Forbidden` (`token_exceeds_own` too), `Invalid`
    (`token_name_missing`, `token_name_too_long`, `token_already_expired`, `token_scope_unknown`, `token_useless`,
    `token_program_unknown`, `token_programs_too_many`, `rate_limit_invalid`), or `Conflict` (`token_revoked`,
    `token_expired`) for the token they came with.
    """
    token_policy.check(actor, "create", ApiToken(user=user))
    asked = {**token_limits.limits_by_default(actor), **limits}
    token = ApiToken(
        user=user,
        name=token_limits.checked_name(name),
        scopes=token_limits.checked_scopes(asked["scopes"]),
        programs=token_limits.checked_programs(actor, asked["programs"]),
        rate_limit=token_limits.checked_rate(asked["rate_limit"]),
        expires_at=token_limits.checked_expiry(asked["expires_at"]),
    )
    token_limits.refuse_more_than_own(actor, token)
    with transaction.atomic():
        token.made_by = _own_token(actor)
        raw = _saved_with_secret(token)
    forget_tokens()
    return token, raw


@verb(token_policy, "rotate")
def rotate_token(*, actor: User, token: ApiToken, overlap: timedelta = OVERLAP) -> tuple[ApiToken, str]:
    """A token to use instead of `token`, of the same name and limits, and its raw form, which is never shown again.

    `token` stays usable for `overlap` (at most 30 days, and never longer than it was) and is linked to what replaces
    it. One that would have expired is followed by one that lives as long as it was to live, yet no longer than the
    token that `actor` came with. What `token` made belongs to its successor.

    Raises `Forbidden` (`token_exceeds_own` too), `Invalid` (`token_overlap_invalid`), or `Conflict` (`token_revoked`,
    `token_expired`, `token_already_rotated`).
    """
    token_policy.check(actor, "rotate", token)
    token_limits.checked_overlap(overlap)
    with transaction.atomic():
        own = _own_token(actor)
        old = locked(token)
        _refuse_to_rotate(old)
        token_limits.refuse_more_than_own(actor, old)
        now = timezone.now()
        kept = {name: getattr(old, name) for name in ("user_id", "name", "scopes", "programs", "rate_limit")}
        new = ApiToken(**kept, expires_at=_end_of_successor(old, own, now))
        new.made_by = old.made_by if own == old else own
        raw = _saved_with_secret(new)
        old.made.update(made_by=new)
        old.replaced_by = new
        old.expires_at = min(old.expires_at or now + overlap, now + overlap)
        old.save(update_fields=["replaced_by", "expires_at", "updated_at"])
        forget_tokens_on_commit()
    return new, raw


def _end_of_successor(old: ApiToken, own: ApiToken | None, now: datetime) -> datetime | None:
    if old.expires_at is None:
        return None
    as_long = now + (old.expires_at - old.created_at)
    return min(as_long, own.expires_at) if own is not None and own.expires_at is not None else as_long


def _own_token(actor: User) -> ApiToken | None:
    """The token that `actor` came with, if it is one still: what a request believes of it may be seconds old.

    Locked, so that it is not revoked before what it makes is there. Raises `Conflict`.
    """
    if actor.grant is None:
        return None
    own = locked(ApiToken(pk=actor.grant.token))
    _refuse_unusable(own)
    return own


def _refuse_to_rotate(token: ApiToken) -> None:
    if token.revoked_at is None and token.replaced_by_id is not None:
        raise Conflict("token_already_rotated", _("The token has been replaced already."))
    _refuse_unusable(token)


def _refuse_unusable(token: ApiToken) -> None:
    if token.revoked_at is not None:
        raise Conflict("token_revoked", _("The token is revoked."))
    if not token.is_usable:
        raise Conflict("token_expired", _("The token has expired."))


def _saved_with_secret(token: ApiToken) -> str:
    token.prefix = secrets.token_hex(4)
    raw = f"signet_{token.prefix}_{secrets.token_hex(24)}"
    token.digest = _digest(raw)
    token.save()
    return raw


@verb(token_policy, "revoke")
def revoke_token(*, actor: User, token: ApiToken) -> ApiToken:
    """Make `token`, and what was made by it, useless for ever; repeating it changes nothing. Raises `Forbidden`."""
    token_policy.check(actor, "revoke", token)
    with transaction.atomic():
        token = locked(token)
        if token.revoked_at is None:
            token.revoked_at = timezone.now()
            token.save(update_fields=["revoked_at", "updated_at"])
            _revoke_what_was_made_by(token)
        forget_tokens_on_commit()
    return token


def _revoke_what_was_made_by(token: ApiToken) -> None:
    """Generation by generation: whoever is about to make one more holds the lock of its maker until it is there."""
    makers = [token.pk]
    while makers:
        made = ApiToken.objects.filter(made_by__in=makers, revoked_at=None).order_by("pk")
        makers = list(made.select_for_update(no_key=True).values_list("pk", flat=True))
        ApiToken.objects.filter(pk__in=makers).update(revoked_at=token.revoked_at, updated_at=token.revoked_at)


def authenticate_token(raw: str, *, younger_than_s: float | None = None) -> User | None:
    """Whose usable token `raw` is, with its grant, or None. Reads the database at most once in `CACHE_SECONDS`, or
    once it knows nothing younger than asked, per token and process.

    The row is a copy for the caller; its balance may be as old.
    """
    found = _shared(raw, younger_than_s)
    user = _looked_up(raw, younger_than_s) if found is None else found[0]
    return copy.copy(user)


async def cached_actor(
    raw: str, in_thread: InThread | None = None, *, younger_than_s: float | None = None
) -> User | None:
    """`authenticate_token` for the event loop: takes a thread (of `in_thread` if given) only to look it up.

    The row is shared by all who ask: it is to be read only.
    """
    if found := _shared(raw, younger_than_s):
        return found[0]
    if in_thread is not None:
        return await in_thread(lambda: authenticate_token(raw, younger_than_s=younger_than_s))
    return await sync_to_async(authenticate_token)(raw, younger_than_s=younger_than_s)


def owners_of(raws: Collection[str]) -> dict[str, User]:
    """Of many raw tokens the usable ones with their owners, as they are now: one query, whatever their number."""
    by_digest = {_digest(raw): raw for raw in raws}
    tokens = list(ApiToken.objects.usable().select_related("user").filter(digest__in=by_digest))
    _note_use(tokens)
    return {by_digest[token.digest]: _with_grant(token) for token in tokens}


def bearer_of(header: str) -> str | None:
    """The raw token of an `Authorization` header, or None when it holds none of ours to judge."""
    scheme, _space, raw = header.partition(" ")
    return raw.strip() if scheme.lower() == "bearer" else None


def token_unknown() -> Unauthenticated:
    return Unauthenticated("token_unknown", _("The bearer token is unknown, expired or revoked."))


def forget_tokens() -> None:
    """Drop what this process knows of tokens and their owners."""
    _known.forget()
    _unknown.forget()


def forget_tokens_on_commit() -> None:
    """Drop it now, for this transaction's own eyes, and once more when the change is there for all."""
    forget_tokens()
    transaction.on_commit(forget_tokens)


def _shared(raw: str, younger_than_s: float | None) -> tuple[User | None] | None:
    digest = _digest(raw)
    return _known.get(digest, younger_than_s) or _unknown.get(digest)


def _looked_up(raw: str, younger_than_s: float | None) -> User | None:
    digest = _digest(raw)
    if not raw.startswith("signet_"):
        return None
    try:
        return _known.get_or_load(digest, lambda: _owner(digest), younger_than_s)
    except ApiToken.DoesNotExist:
        _known.discard(digest)
        return _unknown.get_or_load(digest, lambda: None)


def _owner(digest: str) -> User:
    token = ApiToken.objects.usable().select_related("user").get(digest=digest)
    _note_use([token])
    return _with_grant(token)


def _note_use(tokens: Iterable[ApiToken]) -> None:
    now = timezone.now()
    due = Q(last_used_at=None) | Q(last_used_at__lt=now - USE_IS_NOTED_EVERY)
    late = [one.pk for one in tokens if one.last_used_at is None or now - one.last_used_at > USE_IS_NOTED_EVERY]
    if late:
        ApiToken.objects.filter(due, pk__in=late).update(last_used_at=now)


def _with_grant(token: ApiToken) -> User:
    owner: User = token.user
    owner.grant = Grant(
        token.pk, frozenset(map(Scope, token.scopes)), frozenset(token.programs), token.rate_limit, token.expires_at
    )
    return owner


def _digest(raw: str) -> str:
    # "surrogatepass": whatever a client sends has a digest, it is just nobody's.
    return hashlib.sha256(raw.encode("utf-8", "surrogatepass")).hexdigest()
