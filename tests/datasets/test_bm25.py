"""The ranking of passages, without a database."""

from __future__ import annotations

import pytest

from datasets.runtime.bm25 import Index

TEXTS = [
    "Returns: goods may be sent back within thirty days",
    "Opening hours: the workshop opens at nine",
    "Rückgabe: Ware kann binnen dreißig Tagen zurückgesandt werden",
    "Warranty: frames are covered for five years",
]


def positions(index: Index, query: str, k: int = 3) -> list[int]:
    return [position for position, _score in index.search(query, k)]


def test_the_passage_that_shares_the_rarest_words_comes_first() -> None:
    assert positions(Index.build(TEXTS), "when does the workshop open: which hours")[0] == 1


def test_words_are_compared_without_case_in_any_alphabet() -> None:
    assert positions(Index.build(TEXTS), "RÜCKGABE DREISSIG") == [2]


def test_passages_without_a_common_word_are_left_out() -> None:
    assert positions(Index.build(TEXTS), "warranty", k=4) == [3]


def test_equal_passages_stand_in_their_order_every_time() -> None:
    index = Index.build(["same words here"] * 50 + ["other"])
    assert [positions(index, "words", k=5) for _ in range(3)] == [[0, 1, 2, 3, 4]] * 3


def test_scores_descend() -> None:
    scores = [score for _position, score in Index.build(TEXTS).search("goods days the frames", 4)]
    assert scores == sorted(scores, reverse=True)
    assert len(scores) >= 2


@pytest.mark.parametrize("query", ["", "   ", "?!", "unheard-of"])
def test_a_query_without_known_words_finds_nothing(query: str) -> None:
    assert Index.build(TEXTS).search(query, 3) == []


@pytest.mark.parametrize("texts", [[], [""], ["...", "!"]])
def test_a_corpus_without_words_is_searched_in_vain(texts: list[str]) -> None:
    index = Index.build(texts)
    assert len(index) == len(texts)
    assert index.search("anything", 3) == []


@pytest.mark.parametrize("k", [0, -1])
def test_nothing_asked_for_is_nothing_found(k: int) -> None:
    assert Index.build(TEXTS).search("warranty", k) == []


def test_a_passage_without_words_among_others_is_never_found() -> None:
    assert positions(Index.build(["", "warranty of frames"]), "warranty", k=5) == [1]


def test_one_passage_is_a_corpus() -> None:
    assert positions(Index.build(["warranty"]), "warranty", k=5) == [0]
