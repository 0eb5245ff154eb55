"""Answers told while they come: whoever listens to an execution hears the text of its output fields piece by piece."""

from mlops.runtime.listening.chat import ChatReader
from mlops.runtime.listening.hearing import Hearing, hearing
from mlops.runtime.listening.hiding import Hiding
from mlops.runtime.listening.objects import ObjectReader
from mlops.runtime.listening.turns import Listener, Turn, listening, read_by, turn, unheard

__all__ = [
    "ChatReader",
    "Hearing",
    "Hiding",
    "Listener",
    "ObjectReader",
    "Turn",
    "hearing",
    "listening",
    "read_by",
    "turn",
    "unheard",
]
