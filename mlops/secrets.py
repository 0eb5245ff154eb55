"""Secrets at rest: encrypted with the keys of the environment, newest first, or only the name of a variable.

`SIGNET_ENCRYPTION_KEYS` holds one or more passphrases, comma separated; the first encrypts, all decrypt, so a key is
rotated by putting a new one in front and running `manage.py rotate_secrets`.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
from functools import lru_cache

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.utils.translation import gettext as _

from mlops.errors import Invalid

VARIABLE_NAME = re.compile(r"^(SIGNET_LM_[A-Z0-9_]+|[A-Z][A-Z0-9_]*_API_KEY)$")


@lru_cache(maxsize=4)
def _cipher(passphrases: tuple[str, ...]) -> MultiFernet:
    return MultiFernet(
        [Fernet(base64.urlsafe_b64encode(hashlib.sha256(phrase.encode()).digest())) for phrase in passphrases]
    )


def encrypt(secret: str) -> str:
    return _cipher(tuple(settings.SIGNET_ENCRYPTION_KEYS)).encrypt(secret.encode()).decode()


def decrypt(stored: str) -> str:
    """The secret behind `stored`. Raises `Invalid` (`secret_unreadable`) when no present key opens it."""
    try:
        return _cipher(tuple(settings.SIGNET_ENCRYPTION_KEYS)).decrypt(stored.encode()).decode()
    except InvalidToken:
        raise Invalid("secret_unreadable", _("A stored secret cannot be read with the present keys.")) from None


def rotate(stored: str) -> str:
    """`stored`, encrypted anew with the first key."""
    return encrypt(decrypt(stored))


def from_environment(variable: str) -> str | None:
    """The value of an allowed variable; never of any other, whatever a row says."""
    return os.environ.get(variable) if VARIABLE_NAME.fullmatch(variable) else None
