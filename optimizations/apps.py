from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OptimizationsConfig(AppConfig):
    name = "optimizations"
    verbose_name = _("Optimizations")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from executions.selectors.lineage import add_lineage_source  # noqa: PLC0415
        from executions.services.usage import Source, add_source  # noqa: PLC0415
        from executions.types import UsageKind  # noqa: PLC0415
        from mlops.services.jobs import when_ended  # noqa: PLC0415
        from mlops.services.reservations import by_row, judge_reservations  # noqa: PLC0415
        from optimizations.admin.compiling import add_to_program_page  # noqa: PLC0415  # models are there only now
        from optimizations.graphql.types import add_upward_fields  # noqa: PLC0415
        from optimizations.models import Optimization  # noqa: PLC0415
        from optimizations.selectors import compile_jobs, compiles_behind, prompts_found_with  # noqa: PLC0415
        from optimizations.services.ending import close_optimization, credits_used  # noqa: PLC0415
        from optimizations.services.results import refuse_in_use  # noqa: PLC0415
        from programs.selectors import add_timeline_source  # noqa: PLC0415
        from programs.services import before_archiving  # noqa: PLC0415

        add_source(Source(UsageKind.OPTIMIZATION, Optimization, "r.cost IS NULL", "r.seconds * 1000"))
        when_ended(Optimization, close_optimization)
        judge_reservations("optimization", by_row(Optimization.objects.all(), credits_used))
        before_archiving(refuse_in_use)
        add_timeline_source(compile_jobs)
        add_lineage_source(compiles_behind, prompts_found_with)
        add_to_program_page()
        add_upward_fields()
