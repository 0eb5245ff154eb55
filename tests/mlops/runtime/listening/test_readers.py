"""However an answer is cut into pieces, what is told of each field is what DSPy reads in the whole of it."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import dspy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlops.runtime.adapters import adapter
from mlops.runtime.listening import ChatReader, Hiding, ObjectReader
from mlops.sanitiser import hide

FIELDS = ("reasoning", "answer")


class Answered(dspy.Signature):  # type: ignore[misc]  # DSPy ships no types
    question: str = dspy.InputField()
    reasoning: str = dspy.OutputField()
    answer: str = dspy.OutputField()


def told(reader: Any, parts: Iterable[str]) -> dict[str, str]:
    """What a reader tells of each field, put together."""
    texts: dict[str, str] = {}
    for pieces in (*map(reader.feed, parts), reader.end()):
        for field, text in pieces:
            assert text
            texts[field] = texts.get(field, "") + text
    return texts


def cut(text: str, places: Sequence[int]) -> list[str]:
    ends = sorted(place % (len(text) + 1) for place in places)
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]


def parsed(form: str, text: str) -> dict[str, str] | None:
    try:
        fields: dict[str, str] = adapter(form).parse(Answered, text)
    except dspy.AdapterParseError:
        return None
    return fields


def filled(fields: dict[str, str]) -> dict[str, str]:
    return {name: text for name, text in fields.items() if text}


SCRAPS = (
    "[[ ## answer ## ]]", "[[ ## reasoning ## ]]", "[[ ## completed ## ]]", "[[ ## other ## ]]", "[[ ## ", " ## ]]",
    "[[ ##", "[", "]]", "answer", "\n", "\r", "\r\n", " ", "\t", "\x1c", "\u2028", "\x85", "a", "word", "{", '"', "é",
    "\x00",
)  # fmt: skip
places = st.lists(st.integers(0, 10_000), max_size=12)
chat_texts = st.lists(st.sampled_from(SCRAPS) | st.text(max_size=3), max_size=25).map("".join)
whole_chat_texts = st.builds(
    "{}\n[[ ## reasoning ## ]]{}\n{}[[ ## answer ## ]]{}".format,
    chat_texts, chat_texts, st.sampled_from(["", " ", "\t "]), chat_texts,
)  # fmt: skip


@given(text=whole_chat_texts, places=places)
def test_chat_answers_are_told_as_they_are_parsed(text: str, places: list[int]) -> None:
    fields = parsed("chat", text)
    assert fields is not None
    assert told(ChatReader(FIELDS), cut(text, places)) == filled(fields)


@given(text=chat_texts, places=places)
def test_the_cuts_make_no_difference_to_what_is_no_answer(text: str, places: list[int]) -> None:
    assert told(ChatReader(FIELDS), cut(text, places)) == told(ChatReader(FIELDS), [text])


json_texts = st.text(max_size=20) | st.lists(st.sampled_from(["\ud83d", "\ude00", '"', "\\", "/", "\n", "{", "a"])).map(
    "".join
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | json_texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(json_texts, inner, max_size=3),
    max_leaves=6,
)
objects = st.fixed_dictionaries({"reasoning": json_texts, "answer": json_texts}).flatmap(
    lambda own: st.dictionaries(json_texts.filter(lambda key: key not in FIELDS), json_values, max_size=3).flatmap(
        lambda more: st.permutations([*own.items(), *more.items()]).map(dict)
    )
)


@given(value=objects, is_ascii=st.booleans(), indent=st.sampled_from([None, 2]), places=places)
def test_json_answers_are_told_as_they_are_parsed(
    value: dict[str, Any], is_ascii: bool, indent: int | None, places: list[int]
) -> None:
    text = json.dumps(value, ensure_ascii=is_ascii, indent=indent)
    fields = parsed("json", text)
    assert fields is not None
    assert told(ObjectReader(FIELDS), cut(text, places)) == filled(fields)


broken_objects = st.lists(st.sampled_from([*SCRAPS, "}", ":", ",", '"answer":', "\\", "\\u", "d83d"]), max_size=25)


@given(text=broken_objects.map("".join), places=places)
def test_the_cuts_make_no_difference_to_what_is_no_json(text: str, places: list[int]) -> None:
    assert told(ObjectReader(FIELDS), cut(text, places)) == told(ObjectReader(FIELDS), [text])


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ('```json\n{"answer": "so", "reasoning": "it is"}\n```', {"answer": "so", "reasoning": "it is"}),
        ('Here {as asked} it is: {"answer": "so"}', {"answer": "so"}),
        ('{"answer": ["a", {"answer": "b"}], "reasoning": "c"}', {"reasoning": "c"}),
        ('{"answer": 7, "reasoning": ""}', {}),
        ('{"answer": "so" and more', {"answer": "so"}),
        ('{} {"answer": "so"}', {"answer": "so"}),
    ],
)
def test_around_an_object_there_may_be_anything(text: str, fields: dict[str, str]) -> None:
    assert told(ObjectReader(FIELDS), text) == fields


@pytest.mark.parametrize("reader", [ChatReader, ObjectReader])
def test_each_character_is_told_at_once(reader: Callable[[Collection[str]], Any]) -> None:
    """But for the blank after a word, which may be the last."""
    reading = reader(FIELDS)
    list(reading.feed("[[ ## answer ## ]]\n" if reader is ChatReader else '{"answer": "'))
    heard = [list(reading.feed(char)) for char in "be so [["]
    assert [[text for _, text in pieces] for pieces in heard] == (
        [["b"], ["e"], [], [" s"], ["o"], [], [" ["], ["["]]
        if reader is ChatReader
        else [["b"], ["e"], [" "], ["s"], ["o"], [" "], ["["], ["["]]
    )


def hidden(secrets: Collection[str], parts: Iterable[str]) -> str:
    hiding = Hiding(secrets)
    return "".join([*map(hiding.feed, parts), hiding.end()])


letters = st.text(alphabet="ab]", max_size=12)


@given(secret=letters.filter(bool), text=letters, more=letters, places=places)
def test_a_secret_is_hidden_as_in_the_whole_text(secret: str, text: str, more: str, places: list[int]) -> None:
    whole = text + secret + more
    assert hidden([secret], cut(whole, places)) == hide(whole, [secret])


@given(secrets=st.lists(letters, max_size=3), text=letters, places=places)
def test_secrets_are_hidden_however_they_are_cut(secrets: list[str], text: str, places: list[int]) -> None:
    assert hidden(secrets, cut(text, places)) == hidden(secrets, [text])


def test_only_what_may_be_a_secret_is_held_back() -> None:
    hiding = Hiding(["sk-1234", "sk-12345"])
    assert [hiding.feed(part) for part in ("a s", "k", "y sk-1234", "!", "sk-12345", "sk")] == [
        "a ", "", "sky ", "[hidden]!", "[hidden]", "",
    ]  # fmt: skip
    assert hiding.end() == "sk"
