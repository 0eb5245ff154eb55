from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class ProgramsConfig(AppConfig):
    name = "programs"
    verbose_name = _("Programs")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from mlops.services.token_limits import know_programs_by  # noqa: PLC0415  # models are there only now
        from programs.admin.timeline import add_to_program_page  # noqa: PLC0415
        from programs.selectors.references import known_names  # noqa: PLC0415

        know_programs_by(known_names)
        add_to_program_page()
