"""The verbs of datasets and corpora: the only code that writes their rows."""

from datasets.services.corpora import create_corpus, delete_corpus, freeze_corpus, import_corpus, search_passages
from datasets.services.datasets import create_dataset, delete_dataset, freeze_dataset, update_dataset
from datasets.services.imports import cancel_import, import_dataset

__all__ = [
    "cancel_import",
    "create_corpus",
    "create_dataset",
    "delete_corpus",
    "delete_dataset",
    "freeze_corpus",
    "freeze_dataset",
    "import_corpus",
    "import_dataset",
    "search_passages",
    "update_dataset",
]
