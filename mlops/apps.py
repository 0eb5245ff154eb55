from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class MlopsConfig(AppConfig):
    name = "mlops"
    verbose_name = _("Operations")
    default_auto_field = "django.db.models.BigAutoField"
