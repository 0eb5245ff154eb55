"""The foundation."""

from __future__ import annotations

from django.apps import AppConfig
from django.contrib.auth.signals import user_logged_in
from django.utils.translation import gettext_lazy as _
from simple_history.signals import pre_create_historical_record


class MlopsConfig(AppConfig):
    name = "mlops"
    verbose_name = _("Operations")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from celery import current_app  # noqa: PLC0415  # settings are read only now
        from django.conf import settings  # noqa: PLC0415

        from mlops.egress import allow_private_hosts  # noqa: PLC0415
        from mlops.services.history import name_who_deletes  # noqa: PLC0415  # models are there only now
        from mlops.services.users import note_login  # noqa: PLC0415
        from mlops.tasks import HandBackJobs  # noqa: PLC0415

        allow_private_hosts(settings.SIGNET_ALLOWED_PRIVATE_HOSTS)
        current_app.steps["worker"].add(HandBackJobs)
        pre_create_historical_record.connect(name_who_deletes, dispatch_uid="mlops.name_who_deletes")
        # Django's own receiver saves the account, which would leave a history row per login.
        user_logged_in.disconnect(dispatch_uid="update_last_login")
        user_logged_in.connect(note_login, dispatch_uid="mlops.note_login")
