from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ExecutionsConfig(AppConfig):
    name = "executions"
    verbose_name = _("Executions")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from celery import current_app  # noqa: PLC0415  # settings are read only now
        from django.core.checks import register  # noqa: PLC0415

        from executions.admin.program_page import add_to_program_page  # noqa: PLC0415  # models are there only now
        from executions.checks import registrations  # noqa: PLC0415
        from executions.services import planning  # noqa: PLC0415
        from executions.tasks import ClaimExecutions  # noqa: PLC0415
        from mlops.services.history import after_changes  # noqa: PLC0415

        current_app.steps["worker"].add(ClaimExecutions)
        add_to_program_page()
        after_changes(planning.forget)
        register(registrations)
