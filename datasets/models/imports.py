"""Files on their way into datasets and corpora."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from datasets.models.corpora import Corpus
from datasets.models.datasets import Dataset
from datasets.querysets import ImportQuerySet
from datasets.types import FileFormat, ImportKind
from mlops.models import Job
from mlops.models.jobs import job_indexes, state_constraint

KIND_CHOICES = [(ImportKind.DATASET.value, _("Dataset")), (ImportKind.CORPUS.value, _("Corpus"))]
FORMAT_CHOICES = [(kind.value, kind.value) for kind in FileFormat]


class Import(Job):
    """One uploaded file that becomes a version of a dataset or of a corpus, whole or not at all.

    The version is there from the beginning, in state `importing`; an import that does not complete takes it away again
    and keeps only its `report` of what was wrong, row by row.
    """

    kind = models.CharField(_("kind"), max_length=10, choices=KIND_CHOICES)
    name = models.CharField(_("name"), max_length=63, help_text=_("Of the dataset or corpus."))
    file = models.FileField(_("file"), upload_to="imports/", blank=True)
    file_name = models.CharField(_("file name"), max_length=255)
    file_size = models.PositiveBigIntegerField(_("bytes"), default=0)
    format = models.CharField(_("format"), max_length=10, choices=FORMAT_CHOICES)
    options = models.JSONField(_("options"), default=dict, blank=True)
    report = models.JSONField(_("report"), default=dict, blank=True, editable=False)
    dataset = models.ForeignKey(
        Dataset, on_delete=models.SET_NULL, null=True, blank=True, related_name="imports", verbose_name=_("dataset")
    )
    corpus = models.ForeignKey(
        Corpus, on_delete=models.SET_NULL, null=True, blank=True, related_name="imports", verbose_name=_("corpus")
    )

    objects = ImportQuerySet.as_manager()

    class Meta:
        verbose_name = _("import")
        verbose_name_plural = _("imports")
        ordering = ["-id"]
        constraints = [state_constraint("import")]
        indexes = job_indexes("import")

    def __str__(self) -> str:
        return self.file_name
