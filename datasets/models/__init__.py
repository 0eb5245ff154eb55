"""Rows of datasets with their examples, of corpora with their passages, and of files on their way into them."""

from datasets.models.corpora import Corpus, Passage
from datasets.models.datasets import TYPE_CHOICES, Dataset, Example
from datasets.models.imports import Import

__all__ = ["TYPE_CHOICES", "Corpus", "Dataset", "Example", "Import", "Passage"]
