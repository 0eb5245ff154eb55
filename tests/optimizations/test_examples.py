"""Examples of a dataset version as an optimizer takes them."""

from __future__ import annotations

import pytest
from pytest_django import DjangoAssertNumQueries

from mlops.models import User
from optimizations.services.examples import StoredExamples
from tests.optimizations.compiling import make_dataset

pytestmark = pytest.mark.django_db


def test_they_are_read_when_they_are_looked_at(erin: User, django_assert_num_queries: DjangoAssertNumQueries) -> None:
    dataset = make_dataset(erin, 12)
    whole = [(str(row.pk), row.data) for row in dataset.examples.order_by("position")]
    with django_assert_num_queries(0):
        found = StoredExamples(dataset)
        assert len(found) == 12
    with django_assert_num_queries(1):
        assert list(found) == whole
    with django_assert_num_queries(4):  # the ids once, then one example each
        assert [found[3], found[-1], found[0]] == [whole[3], whole[-1], whole[0]]
    assert found[2:5] == whole[2:5]
    with pytest.raises(IndexError):
        found[12]
