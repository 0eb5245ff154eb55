from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class DatasetsConfig(AppConfig):
    name = "datasets"
    verbose_name = _("Datasets")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from datasets.models import Import  # noqa: PLC0415  # models are there only now
        from datasets.services.embedding import credits_used  # noqa: PLC0415
        from mlops.services.reservations import by_age, by_row, judge_reservations  # noqa: PLC0415

        judge_reservations("import", by_row(Import.objects.all(), credits_used))
        judge_reservations("corpus", by_age)
