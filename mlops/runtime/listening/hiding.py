"""Secrets that come back piece by piece."""

from __future__ import annotations

import re
from collections.abc import Collection

from mlops.sanitiser import HIDDEN


class Hiding:
    """Takes secrets out of a text that comes in pieces, as `mlops.sanitiser.hide` takes them out of a whole one.

    Nothing is held back but an end that may be the beginning of a secret.
    """

    def __init__(self, secrets: Collection[str]) -> None:
        self._secrets = sorted(filter(None, secrets), key=len, reverse=True)
        self._any = re.compile("|".join(map(re.escape, self._secrets)))
        self._held = ""

    def feed(self, text: str) -> str:
        """What may be told now."""
        if not self._secrets:
            return text
        return self._told(self._held + text, is_whole=False)

    def end(self) -> str:
        """What was held back and turned out to be no secret."""
        return self._told(self._held, is_whole=True) if self._held else ""

    def _told(self, text: str, *, is_whole: bool) -> str:
        told: list[str] = []
        at = 0
        while True:
            found = self._any.search(text, at)
            open_from = len(text) if is_whole else self._open_from(text, at)
            if found is None or found.start() >= open_from:
                self._held = text[open_from:]
                return "".join([*told, text[at:open_from]])
            told += [text[at : found.start()], HIDDEN]
            at = found.end()

    def _open_from(self, text: str, at: int) -> int:
        """Where the longest end of `text` after `at` begins that is the beginning of a secret."""
        longest = min(len(self._secrets[0]) - 1, len(text) - at)
        for length in range(longest, 0, -1):
            end = text[-length:]
            if any(len(secret) > length and secret.startswith(end) for secret in self._secrets):
                return len(text) - length
        return len(text)
