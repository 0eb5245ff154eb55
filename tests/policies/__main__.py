"""Write the Markdown of docs/policy-matrix.md to the standard output."""

from __future__ import annotations

import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()

from tests.policies.page import page  # noqa: E402

sys.stdout.write(page())
