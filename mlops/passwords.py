"""How passwords are kept."""

from __future__ import annotations

from threading import BoundedSemaphore

from django.contrib.auth.hashers import Argon2PasswordHasher

_ROOM = BoundedSemaphore(4)
"""Hashes computed at once: whoever sends many log-ins must not choose how much memory they take."""


class Argon2Hasher(Argon2PasswordHasher):
    """Argon2id as strong as OWASP recommends: two passes over 19 MiB. Django's own takes 100 MiB for each log-in."""

    time_cost = 2
    memory_cost = 19 * 1024
    parallelism = 1

    def encode(self, password: str, salt: str) -> str:
        with _ROOM:
            return super().encode(password, salt)

    def verify(self, password: str, encoded: str) -> bool:
        with _ROOM:
            return super().verify(password, encoded)
