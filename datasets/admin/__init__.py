"""Datasets and corpora in the admin site."""

from datasets.admin import corpora, datasets, imports, statistics

__all__ = ["corpora", "datasets", "imports", "statistics"]
