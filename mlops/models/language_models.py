"""Language models that may be called, and what they cost."""

from __future__ import annotations

from datetime import timedelta

from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.utils.translation import gettext_lazy as _
from simple_history.models import HistoricalRecords

from mlops.models.base import Record, new_id
from mlops.models.history import RecordsWithRelated, TracedHistory
from mlops.querysets import LanguageModelQuerySet, ModelPriceQuerySet
from mlops.types import LanguageModelKind, Price

KIND_CHOICES = [(LanguageModelKind.CHAT.value, _("Chat")), (LanguageModelKind.EMBEDDING.value, _("Embedding"))]


class LanguageModel(Record):
    """A model that may be called: where, with which parameters and limits, and what stands in when it fails.

    The secret is either encrypted in `secret` or read from the variable named in `secret_variable`; neither is ever
    shown again, and the history holds no secret.
    """

    name = models.CharField(_("name"), max_length=120, unique=True, help_text=_("provider/model, as DSPy writes it."))
    kind = models.CharField(
        _("kind"),
        max_length=10,
        choices=KIND_CHOICES,
        default=LanguageModelKind.CHAT.value,
    )
    api_base = models.CharField(_("base URL"), max_length=300, blank=True)
    secret = models.TextField(_("secret"), blank=True, editable=False)
    secret_variable = models.CharField(
        _("variable of the secret"),
        max_length=100,
        blank=True,
        help_text=_("Name of an environment variable: SIGNET_LM_... or ..._API_KEY."),
    )
    parameters = models.JSONField(
        _("parameters"), default=dict, blank=True, help_text=_("temperature, max_tokens, ...")
    )
    timeout_s = models.FloatField(
        _("timeout (s)"), default=60, validators=[MinValueValidator(0.1), MaxValueValidator(3600)]
    )
    deadline_s = models.FloatField(
        _("total deadline (s)"),
        default=120,
        validators=[MinValueValidator(0.1), MaxValueValidator(3600)],
        help_text=_("Bounds one call with all its retries and fallbacks."),
    )
    max_retries = models.PositiveSmallIntegerField(_("retries"), default=2, validators=[MaxValueValidator(10)])
    concurrency_limit = models.PositiveIntegerField(
        _("concurrency limit"),
        default=256,
        validators=[MinValueValidator(1), MaxValueValidator(10_000)],
        help_text=_("Calls in flight per process."),
    )
    supports_tools = models.BooleanField(_("supports tools"), null=True, blank=True)
    supports_json_schema = models.BooleanField(_("supports JSON schema"), null=True, blank=True)
    is_enabled = models.BooleanField(_("enabled"), default=True)
    is_default = models.BooleanField(_("default"), default=False)
    fallbacks = models.ManyToManyField(
        "self", through="Fallback", symmetrical=False, related_name="stands_in_for", verbose_name=_("fallbacks")
    )

    objects = LanguageModelQuerySet.as_manager()
    history = RecordsWithRelated(
        bases=[TracedHistory], excluded_fields=["secret"], related={"fallbacks": lambda model: model.fallback_ids()}
    )

    class Meta:
        verbose_name = _("language model")
        verbose_name_plural = _("language models")
        ordering = ["name"]
        constraints = [
            models.UniqueConstraint(
                fields=["kind"], condition=models.Q(is_default=True), name="language_model_one_default_per_kind"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def has_secret(self) -> bool:
        return bool(self.secret or self.secret_variable)

    def fallback_ids(self) -> list[str]:
        """Of what is called when this one fails, in that order."""
        return [str(row.model_id) for row in self.fallback_rows.order_by("position")]


class Fallback(models.Model):
    """`model` is called when `of` fails, in the order of `position`."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    of = models.ForeignKey(LanguageModel, on_delete=models.CASCADE, related_name="fallback_rows")
    model = models.ForeignKey(LanguageModel, on_delete=models.PROTECT, related_name="+", verbose_name=_("model"))
    position = models.PositiveSmallIntegerField(_("position"))

    class Meta:
        verbose_name = _("fallback")
        verbose_name_plural = _("fallbacks")
        ordering = ["position"]
        constraints = [
            models.UniqueConstraint(fields=["of", "position"], name="fallback_position_once"),
            models.UniqueConstraint(fields=["of", "model"], name="fallback_model_once"),
            models.CheckConstraint(condition=~models.Q(of=models.F("model")), name="fallback_is_another_model"),
        ]

    def __str__(self) -> str:
        return f"{self.position}: {self.model}"


ENTERED_AT_ONCE = timedelta(minutes=1)
"""A row that is entered within this time counts as entered when it came into force."""


class ModelPrice(Record):
    """What a model costs from a moment on, in micro-dollars per million tokens (= pico-dollars per token)."""

    model = models.ForeignKey(
        LanguageModel, on_delete=models.PROTECT, related_name="prices", verbose_name=_("language model")
    )
    valid_from = models.DateTimeField(_("valid from"))
    input_price = models.PositiveBigIntegerField(_("input"), help_text=_("Micro-dollars per million tokens."))
    cached_input_price = models.PositiveBigIntegerField(_("cached input"))
    output_price = models.PositiveBigIntegerField(_("output"))
    cache_write_price = models.PositiveBigIntegerField(
        _("cache write"), null=True, blank=True, help_text=_("Input that is written to the provider's cache.")
    )
    reasoning_price = models.PositiveBigIntegerField(
        _("reasoning"), null=True, blank=True, help_text=_("Empty: as output.")
    )
    request_price = models.PositiveBigIntegerField(_("per request"), default=0, help_text=_("Pico-dollars."))
    input_limit = models.PositiveIntegerField(
        _("up to input tokens"),
        null=True,
        blank=True,
        help_text=_("Longer requests have another price, which this row does not know. Empty: no limit."),
    )
    source = models.CharField(_("source"), max_length=200, blank=True)
    source_date = models.DateField(_("date of the source"), null=True, blank=True)

    objects = ModelPriceQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory])

    class Meta:
        verbose_name = _("model price")
        verbose_name_plural = _("model prices")
        ordering = ["-valid_from"]
        constraints = [models.UniqueConstraint(fields=["model", "valid_from"], name="model_price_once_per_moment")]

    def __str__(self) -> str:
        return f"{self.model} {self.valid_from:%Y-%m-%d}"

    @property
    def is_back_dated(self) -> bool:
        """Whether its model could be called under this row before the row was there."""
        return max(self.valid_from, self.model.created_at) + ENTERED_AT_ONCE < self.created_at

    @property
    def notice(self) -> str:
        """What whoever has entered it has to know."""
        if not self.is_back_dated:
            return ""
        return str(_("Executions that began before this row was entered keep their cost until they are repriced."))

    def as_price(self) -> Price:
        """The row as the runtime reckons with it."""
        return Price(
            id=str(self.pk),
            input=self.input_price,
            cached_input=self.cached_input_price,
            output=self.output_price,
            cache_write=self.cache_write_price,
            reasoning=self.reasoning_price,
            request=self.request_price,
            input_limit=self.input_limit,
        )
