"""One answer of a language model, told while it comes."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from mlops.runtime.listening.hiding import Hiding
from mlops.runtime.listening.turns import Reader, Turn, current_reader, open_turn
from mlops.runtime.recorder import current_recorder
from mlops.sanitiser import replace_unstorable


class Hearing:
    """Takes an answer as it comes and tells what it says of the fields: without secrets, in storable characters."""

    def __init__(self, turn: Turn, reader: Reader, secrets: Collection[str]) -> None:
        self._turn = turn
        self._reader = reader
        self._secrets = secrets
        self._field = ""
        self._hiding = Hiding(secrets)

    def hear(self, text: str) -> None:
        """More of the answer has come."""
        self._tell(self._reader.feed(text))

    def end(self) -> None:
        """The answer is whole."""
        self._tell(self._reader.end())
        self._pass_on(self._hiding.end())

    def _tell(self, pieces: Iterable[tuple[str, str]]) -> None:
        for field, text in pieces:
            if field != self._field:
                self._pass_on(self._hiding.end())
                self._field, self._hiding = field, Hiding(self._secrets)
            self._pass_on(self._hiding.feed(text))

    def _pass_on(self, text: str) -> None:
        if text:
            self._turn.tell(self._field, str(replace_unstorable(text)[0]))


def hearing(secrets: Collection[str]) -> Hearing | None:
    """What is to hear the answer that is asked for here, if it is to be told. `secrets` are those of who answers."""
    turn, reader = open_turn(), current_reader()
    if turn is None or reader is None:
        return None
    recorder = current_recorder()
    known = recorder.repeated_secrets if recorder else set()  # an earlier module may have passed one on in its output
    return Hearing(turn, reader(turn.fields), {*secrets, *known})
