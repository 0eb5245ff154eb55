"""Programs with their modules, connections and deployments."""

from __future__ import annotations

from django.conf import settings
from django.contrib.auth.models import Group
from django.core.validators import MaxValueValidator, RegexValidator
from django.db import models
from django.utils.functional import cached_property
from django.utils.translation import gettext_lazy as _
from django_fsm import FSMField, transition
from simple_history.models import HistoricalRecords

from mlops.models import LanguageModel, Record
from mlops.models.base import new_id
from mlops.models.history import SOURCE_CHOICES, TracedHistory, current_request_id, current_source
from programs.costs import monthly_costs
from programs.models.signatures import Signature
from programs.querysets import ProgramPartQuerySet, ProgramQuerySet
from programs.types import FIELD_NAME_PATTERN, NAME_PATTERN, ModuleKind, ProgramStatus

DRAFT, TESTING, PRODUCTION, ARCHIVED = (status.value for status in ProgramStatus)
STATUS_CHOICES = [
    (DRAFT, _("Draft")),
    (TESTING, _("Testing")),
    (PRODUCTION, _("Production")),
    (ARCHIVED, _("Archived")),
]
KIND_CHOICES = [
    (ModuleKind.PREDICT.value, _("Predict")),
    (ModuleKind.CHAIN_OF_THOUGHT.value, _("Chain of thought")),
    (ModuleKind.RETRIEVE.value, _("Retrieve")),
    (ModuleKind.REACT.value, _("ReAct")),
    (ModuleKind.CUSTOM.value, _("Custom")),
]


class Program(Record):
    """A version of a named program.

    draft -submit-> testing -deploy-> production -archive-> archived, and -deploy-> again from archived (roll-back).
    Name, version, config, modules and connections are frozen outside draft; a change makes the next version.
    `updated_at` moves with every change of the content, so caches of built programs can be keyed by it.
    """

    name = models.CharField(_("name"), max_length=63, validators=[RegexValidator(NAME_PATTERN)])
    version = models.PositiveIntegerField(_("version"), default=1, editable=False)
    description = models.TextField(_("description"), blank=True)
    status = FSMField(_("status"), default=DRAFT, choices=STATUS_CHOICES, protected=True, editable=False)
    config = models.JSONField(
        _("config"),
        default=dict,
        blank=True,
        help_text=_(
            "adapter, outputs, capture, deadline_s, parameters, and deploy_gate: the metric by which a version has to "
            "be proven better than the one in production before it is deployed."
        ),
    )
    metrics = models.JSONField(_("metrics"), default=dict, blank=True, editable=False)
    traffic_percentage = models.PositiveSmallIntegerField(
        _("traffic (%)"), default=0, editable=False, validators=[MaxValueValidator(100)]
    )
    credits_per_execution = models.PositiveBigIntegerField(
        _("credits per execution"),
        null=True,
        blank=True,
        help_text=_("Fixed charge in micro-credits; without it the cost is charged."),
    )
    group = models.ForeignKey(
        Group,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="programs",
        verbose_name=_("group"),
        help_text=_("Only members of the group, and admins, know of the program."),
    )

    objects = ProgramQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory], excluded_fields=["metrics"])

    class Meta:
        verbose_name = _("program")
        verbose_name_plural = _("programs")
        ordering = ["name", "-version"]
        constraints = [
            models.UniqueConstraint(fields=["name", "version"], name="program_version_once"),
            models.CheckConstraint(
                condition=models.Q(status__in=[status.value for status in ProgramStatus]), name="program_status_known"
            ),
            models.CheckConstraint(condition=models.Q(traffic_percentage__lte=100), name="program_traffic_at_most_100"),
        ]
        indexes = [
            # references by label: name@production, name@testing
            models.Index(fields=["name", "status", "-version"], name="program_by_label"),
        ]

    def __str__(self) -> str:
        return f"{self.name}@{self.version}"

    @cached_property
    def monthly_cost(self) -> int:
        """Pico-dollars of the last 30 days, evaluations and optimizations included. Lists preload it."""
        return monthly_costs([self.pk])[self.pk]

    @transition(field=status, source=DRAFT, target=TESTING)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def submit(self) -> None:
        """The content is frozen from here on."""

    @transition(field=status, source=[TESTING, ARCHIVED], target=PRODUCTION)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def deploy(self) -> None:
        """This version answers for the name."""
        self.traffic_percentage = 100

    @transition(field=status, source=[DRAFT, TESTING, PRODUCTION], target=ARCHIVED)  # type: ignore[untyped-decorator]  # django_fsm has no types
    def archive(self) -> None:
        """Nothing new runs on this version; what ran keeps it."""
        self.traffic_percentage = 0


class Module(Record):
    """One step of a program. `key` names it in every version; `config` depends on the kind (see `ModuleSpec`)."""

    program = models.ForeignKey(Program, on_delete=models.CASCADE, related_name="modules", verbose_name=_("program"))
    key = models.CharField(_("key"), max_length=63, validators=[RegexValidator(FIELD_NAME_PATTERN)])
    kind = models.CharField(_("kind"), max_length=20, choices=KIND_CHOICES, default=ModuleKind.PREDICT.value)
    signature = models.ForeignKey(
        Signature, on_delete=models.PROTECT, null=True, blank=True, related_name="modules", verbose_name=_("signature")
    )
    config = models.JSONField(_("config"), default=dict, blank=True)
    position = models.PositiveSmallIntegerField(_("position"), default=0)
    language_model = models.ForeignKey(
        LanguageModel,
        on_delete=models.PROTECT,
        null=True,
        blank=True,
        related_name="modules",
        verbose_name=_("language model"),
        help_text=_("Empty: the default language model."),
    )

    objects = ProgramPartQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory])

    class Meta:
        verbose_name = _("module")
        verbose_name_plural = _("modules")
        ordering = ["position"]
        constraints = [models.UniqueConstraint(fields=["program", "key"], name="module_key_once_per_program")]

    def __str__(self) -> str:
        return self.key


class ModuleConnection(Record):
    """A field that feeds another; a null module stands for the program's own boundary."""

    program = models.ForeignKey(
        Program, on_delete=models.CASCADE, related_name="connections", verbose_name=_("program")
    )
    from_module = models.ForeignKey(
        Module, on_delete=models.CASCADE, null=True, blank=True, related_name="outgoing", verbose_name=_("from module")
    )
    from_field = models.CharField(_("from field"), max_length=63)
    to_module = models.ForeignKey(
        Module, on_delete=models.CASCADE, null=True, blank=True, related_name="incoming", verbose_name=_("to module")
    )
    to_field = models.CharField(_("to field"), max_length=63)

    objects = ProgramPartQuerySet.as_manager()
    history = HistoricalRecords(bases=[TracedHistory])

    class Meta:
        verbose_name = _("connection")
        verbose_name_plural = _("connections")
        ordering = ["id"]
        constraints = [
            # Two, since SQLite has no unique constraint in which nulls are equal.
            models.UniqueConstraint(fields=["program", "to_module", "to_field"], name="connection_one_source"),
            models.UniqueConstraint(
                fields=["program", "to_field"],
                condition=models.Q(to_module=None),
                name="connection_one_source_of_output",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.from_module or 'input'}.{self.from_field} -> {self.to_module or 'output'}.{self.to_field}"


class Deployment(models.Model):
    """Which version became production, what it replaced, who did it, when and why. Never changed."""

    id = models.UUIDField(primary_key=True, default=new_id, editable=False)
    program = models.ForeignKey(Program, on_delete=models.PROTECT, related_name="deployments")
    replaced = models.ForeignKey(Program, on_delete=models.PROTECT, null=True, blank=True, related_name="+")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, null=True, related_name="+")
    reason = models.CharField(_("reason"), max_length=500, blank=True)
    is_roll_back = models.BooleanField(_("roll-back"), default=False)
    source = models.CharField(_("source"), max_length=8, choices=SOURCE_CHOICES, default=current_source)
    request_id = models.CharField(_("request"), max_length=64, blank=True, default=current_request_id)
    created_at = models.DateTimeField(_("created at"), auto_now_add=True)

    objects = ProgramPartQuerySet.as_manager()

    class Meta:
        verbose_name = _("deployment")
        verbose_name_plural = _("deployments")
        ordering = ["-id"]

    def __str__(self) -> str:
        return str(self.program)
