from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class OptimizationsConfig(AppConfig):
    name = "optimizations"
    verbose_name = _("Optimizations")
    default_auto_field = "django.db.models.BigAutoField"
