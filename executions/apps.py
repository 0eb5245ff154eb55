from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ExecutionsConfig(AppConfig):
    name = "executions"
    verbose_name = _("Executions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from celery import current_app  # noqa: PLC0415  # settings are read only now
        from django.core.checks import register  # noqa: PLC0415

        from executions.admin.evaluations import add_evaluations_to_pages  # noqa: PLC0415  # models are there only now
        from executions.admin.lineage_page import add_lineage_to_pages  # noqa: PLC0415  # models are there only now
        from executions.admin.program_page import add_to_program_page  # noqa: PLC0415  # models are there only now
        from executions.admin.usage import add_usage_to_pages  # noqa: PLC0415  # models are there only now
        from executions.checks import registrations  # noqa: PLC0415
        from executions.graphql.types import add_upward_fields  # noqa: PLC0415
        from executions.selectors import monthly_costs  # noqa: PLC0415
        from executions.services import planning, process, reservations  # noqa: PLC0415
        from executions.services.charged import was_charged  # noqa: PLC0415
        from executions.services.deploy_gate import refuse_unproven  # noqa: PLC0415
        from executions.tasks import ClaimExecutions  # noqa: PLC0415
        from mlops.services.history import after_changes  # noqa: PLC0415
        from mlops.services.language_models import used_models  # noqa: PLC0415
        from programs.costs import costs_come_from  # noqa: PLC0415
        from programs.services.lifecycle import before_deploying  # noqa: PLC0415

        current_app.steps["worker"].add(ClaimExecutions)
        add_to_program_page()
        add_evaluations_to_pages()
        add_lineage_to_pages()
        add_usage_to_pages()
        add_upward_fields()
        after_changes(planning.forget)
        after_changes(process.forget_budgets)
        used_models(was_charged)
        before_deploying(refuse_unproven)
        costs_come_from(monthly_costs)
        reservations.register_judges()
        register(registrations)
