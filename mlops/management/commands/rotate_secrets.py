"""`manage.py rotate_secrets`: encrypt all kept secrets with the first of SIGNET_ENCRYPTION_KEYS."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.utils.translation import gettext as _

from mlops.errors import DomainError
from mlops.services.history import operator
from mlops.services.language_models import rotate_secrets


class Command(BaseCommand):
    help = "Encrypt the secrets of all language models anew with the first of SIGNET_ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = rotate_secrets(actor=operator())
        except DomainError as error:
            raise CommandError(error.message) from None
        self.stdout.write(_("%(count)d secrets are encrypted with the first key.") % {"count": count})
