"""Corpora with their passages."""

from __future__ import annotations

from django.core.validators import RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from django_fsm import FSMField, transition
from simple_history.models import HistoricalRecords

from datasets.models.datasets import IMPORTING, READY, VERSION_STATE_CHOICES
from datasets.querysets import CorpusQuerySet, PassageQuerySet
from datasets.types import NAME_PATTERN, PassageSpec, VersionState
from mlops.models import LanguageModel, Record
from mlops.models.base import new_id
from mlops.models.history import TracedHistory


class Corpus(Record):
    """A version of a named set of documents that `retrieve` modules search. Its passages never change.

    With an `embedding_model` every passage has a vector of `dimensions` numbers.
    """

    name = models.CharField(_("name"), max_length=63, validators=[RegexValidator(NAME_PATTERN)])
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    description = models.TextField(_("description"), blank=True)
    size = models.PositiveIntegerField(_("size"), default=0, editable=False)
    content_hash = models.CharField(_("content hash"), max_length=64, editable=False)
    state = FSMField(_("state"), default=READY, choices=VERSION_STATE_CHOICES, protected=True, editable=False)
    embedding_model = models.ForeignKey(
        LanguageModel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="corpora",
        verbose_name=_("embedding model"),
    )
    dimensions = models.PositiveIntegerField(_("dimensions"), default=0, editable=False)
    frozen_at = models.DateTimeField(_("frozen at"), null=True, editable=False)

    objects = CorpusQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory])

    class Meta:
        verbose_name = _("corpus")
        verbose_name_plural = _("corpora")
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="corpus_version_once"),
            models.CheckConstraint(
                condition=models.Q(state__in=[state.value for state in VersionState]), name="corpus_state_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @transition(field=state, source=IMPORTING, target=READY)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def finish_import(self) -> None:
        """All of it is there."""


class Passage(models.Model):
    """One document of a corpus."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    corpus = models.ForeignKey(Corpus, on_delete=models.CASCADE, related_name="passages", verbose_name=_("corpus"))
    position = models.PositiveIntegerField(_("position"))
    title = models.CharField(_("title"), max_length=300, blank=True)
    text = models.TextField(_("text"))
    embedding = models.BinaryField(_("vector"), null=True, help_text=_("float32, little-endian, of length 1."))
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = PassageQuerySet.as_manager()

    class Meta:
        verbose_name = _("passage")
        verbose_name_plural = _("passages")
        ordering = ["corpus", "position"]
        constraints = [models.UniqueConstraint(fields=["corpus", "position"], name="passage_position_once")]

    def __str__(self) -> str:
        return self.title or f"{self.position}"

    def as_spec(self) -> PassageSpec:
        return PassageSpec(self.title, self.text)
