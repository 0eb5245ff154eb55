"""Documents cut into passages: nothing is lost, nothing is too long, sentences stay whole where they can."""

from __future__ import annotations

import random
import time

import pytest

from datasets.runtime.chunking import Unit, chunks, spans

SENTENCES = "One two three. Four five! Six seven eight nine? Ten."


def measure(text: str, unit: Unit) -> int:
    return len(text.split()) if unit is Unit.WORDS else len(text)


def test_sentences_stay_whole_as_long_as_they_fit() -> None:
    assert chunks(SENTENCES, size=5) == ["One two three. Four five!", "Six seven eight nine? Ten."]
    assert chunks(SENTENCES, size=4) == ["One two three.", "Four five!", "Six seven eight nine?", "Ten."]
    assert chunks(SENTENCES, size=25, unit=Unit.CHARACTERS) == [
        "One two three. Four five!",
        "Six seven eight nine?",
        "Ten.",
    ]


def test_a_sentence_that_is_too_long_is_cut_between_words_and_a_word_only_by_characters() -> None:
    assert chunks("a b c d e f g", size=3) == ["a b c", "d e f", "g"]
    assert chunks("aaaa bb cccccccccc d", size=5, unit=Unit.CHARACTERS) == ["aaaa", "bb", "ccccc", "ccccc", "d"]


def test_whole_sentences_are_repeated_up_to_the_overlap() -> None:
    assert chunks("A b. C d. E f. G h.", size=6, overlap=2) == ["A b. C d. E f.", "E f. G h."]
    assert chunks("A b. C d. E f. G h.", size=4, overlap=3) == ["A b. C d.", "C d. E f.", "E f. G h."]
    assert chunks("A b. C d. E f. G h.", size=4, overlap=1) == ["A b. C d.", "E f. G h."]


def test_a_repetition_that_leaves_no_room_is_left_out() -> None:
    assert chunks("A b. C d e f. G.", size=4, overlap=3) == ["A b.", "C d e f.", "G."]


def test_paragraphs_items_and_headings_are_borders_and_other_line_breaks_are_not() -> None:
    text = "a heading\n\nfirst line\nsecond line\n- an item\n- another item"
    assert chunks(text, size=4) == ["a heading", "first line\nsecond line", "- an item", "- another item"]


def test_sentences_without_spaces_between_them_are_sentences() -> None:
    assert chunks("天气很好。我们走吧！好吗？", size=6, unit=Unit.CHARACTERS) == ["天气很好。", "我们走吧！", "好吗？"]  # noqa: RUF001


@pytest.mark.parametrize("text", ["", " ", "\n\n \n", "\t"])
def test_nothing_has_no_chunks(text: str) -> None:
    assert chunks(text, size=3) == []


def test_a_text_that_fits_stays_as_it_is_without_the_space_around_it() -> None:
    assert chunks("  A b.\n\n C d.\n", size=100) == ["A b.\n\n C d."]


@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize("seed", range(40))
def test_nothing_is_lost_and_nothing_is_too_long(seed: int, unit: Unit) -> None:
    draw = random.Random(seed)
    marks = [" ", " ", " ", "  ", ". ", "! ", "\n", "\n\n", "...\n", ".) ", "\n- ", "\n12. ", "。", "\t"]
    words = ["".join(draw.choices("abcdeäß字", k=draw.randint(1, 12))) for _ in range(draw.randint(1, 200))]
    text = "".join(word + draw.choice(marks) for word in words)
    size = draw.randint(2, 60)
    overlap = draw.randint(0, size - 1)
    found = spans(text, size=size, overlap=overlap, unit=unit)
    assert chunks(text, size=size, overlap=overlap, unit=unit) == [text[start:end] for start, end in found]
    covered, began = 0, -1
    for start, end in found:
        chunk = text[start:end]
        assert chunk == chunk.strip()
        assert 0 < measure(chunk, unit) <= size
        assert text[covered:start].strip() == ""  # only white space is between two chunks
        assert measure(text[start:covered].strip(), unit) <= overlap
        assert began < start
        assert covered < end
        began, covered = start, end
    assert text[covered:].strip() == ""


@pytest.mark.parametrize("unit", list(Unit))
@pytest.mark.parametrize("run", [" ", "\n", ".", "a", "a ", "\n- ", ". ", ")", "\n \n", "1"])
def test_no_text_takes_long(run: str, unit: Unit) -> None:
    began = time.perf_counter()
    chunks(run * (100_000 // len(run)), size=200, overlap=50, unit=unit)
    assert time.perf_counter() - began < 5
