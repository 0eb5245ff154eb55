"""Search by vectors, against the reference that compares with everything."""

from __future__ import annotations

import numpy as np
import pytest

from datasets.runtime.vectors import MatrixCache, Vectors, fused, matrix_of, nearest, to_bytes


def normalised(rows: Vectors) -> Vectors:
    scaled: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled.astype(np.float32)


def by_brute_force(matrix: Vectors, vector: Vectors, k: int) -> list[int]:
    scores = [float(row @ vector) for row in matrix]
    return sorted(range(len(scores)), key=lambda position: (-scores[position], position))[:k]


@pytest.mark.parametrize("k", [1, 3, 10, 199, 200, 500])
@pytest.mark.parametrize("seed", range(5))
def test_the_nearest_are_those_of_the_reference(seed: int, k: int) -> None:
    draw = np.random.default_rng(seed)
    matrix = normalised(draw.normal(size=(200, 24)).astype(np.float32))
    query = normalised(draw.normal(size=(1, 24)).astype(np.float32))[0]
    found = nearest(matrix, query, k)
    assert [position for position, _score in found] == by_brute_force(matrix, query, k)
    assert [score for _position, score in found] == sorted((score for _position, score in found), reverse=True)
    assert found[0][1] == pytest.approx(float(matrix[found[0][0]] @ query), abs=1e-6)


@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_equal_ones_stand_in_their_order(k: int) -> None:
    matrix = np.tile(np.array([[1.0, 0.0], [0.0, 1.0]], np.float32), (3, 1))
    assert [position for position, _score in nearest(matrix, matrix[1], k)] == [1, 3, 5, 0, 2, 4][:k]


def test_nothing_is_found_where_nothing_is_or_nothing_is_asked_for() -> None:
    assert nearest(np.zeros((0, 2), np.float32), np.ones(2, np.float32), 3) == []
    assert nearest(np.ones((2, 2), np.float32), np.ones(2, np.float32), 0) == []


def test_a_query_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="The query has 3 dimensions, the corpus 2"):
        nearest(np.ones((2, 2), np.float32), np.ones(3, np.float32), 1)


def test_vectors_are_stored_as_little_endian_float32() -> None:
    vector = np.array([1.0, -0.5], np.float32)
    assert to_bytes(vector) == bytes.fromhex("0000803f000000bf")
    assert to_bytes(vector.astype(">f4")) == to_bytes(vector)
    assert np.array_equal(matrix_of([to_bytes(vector), memoryview(to_bytes(-vector))], 2), np.array([vector, -vector]))
    assert matrix_of([], 2).shape == (0, 2)
    with pytest.raises(ValueError, match="A vector of 4 bytes is not one of 2 numbers"):
        matrix_of([to_bytes(vector[:1])], 2)


def test_fusion_counts_places_and_not_scores() -> None:
    words, meaning = [(7, 9.0), (3, 8.0), (1, 0.1)], [(1, 0.9), (3, 0.8)]
    expected = {3: 1 / 62 + 1 / 62, 1: 1 / 63 + 1 / 61, 7: 1 / 61}
    order = sorted(expected, key=lambda position: -expected[position])
    assert [position for position, _score in fused([words, meaning], 3)] == order
    assert dict(fused([words, meaning], 3)) == pytest.approx(expected)
    assert fused([words, meaning], 1) == fused([words, meaning], 3)[:1]
    assert fused([[(2, 1.0)], [(1, 1.0)]], 5) == [(1, 1 / 61), (2, 1 / 61)]


def test_matrices_are_kept_up_to_the_limit_and_the_least_used_leaves() -> None:
    loaded: list[str] = []

    def load(name: str, rows: int = 1) -> Vectors:
        loaded.append(name)
        return np.zeros((rows, 25), np.float32)

    cache: MatrixCache[str] = MatrixCache(250)
    for name in ("a", "b", "a", "c", "a", "b"):
        cache.get_or_load(name, lambda name=name: load(name))  # type: ignore[misc]  # bound as a default
    assert loaded == ["a", "b", "c", "b"]
    assert cache.size == 200
    assert cache.get_or_load("large", lambda: load("large", 10)).shape == (10, 25)
    assert cache.size == 0
