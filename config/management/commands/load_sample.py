"""`manage.py load_sample`: the sample workspace, whatever part of it is missing."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand

from config.demo import login_line
from config.sample.loading import load_sample


class Command(BaseCommand):
    help = "Load the sample workspace: a support desk with messages, a knowledge base and three programs."

    def handle(self, **options: Any) -> None:
        credentials = load_sample(self.stdout.write)
        self.stdout.write("The sample workspace is complete.")
        if credentials is not None:
            self.stdout.write(login_line(credentials))
