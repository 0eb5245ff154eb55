"""Settings of the tests: the same ones, with a data folder of this process that goes away with it."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile

# Before the settings are read: they make the folder and keep a secret in it. One folder per process, so that several
# runs and the workers of pytest-xdist never share a database.
_DATA_DIR = tempfile.mkdtemp(prefix="signet-tests-")
os.environ["SIGNET_DATA_DIR"] = _DATA_DIR
os.environ["SIGNET_ALLOWED_PRIVATE_HOSTS"] = "127.0.0.0/8"  # where the provider of the tests listens
atexit.register(shutil.rmtree, _DATA_DIR, ignore_errors=True)

from config.settings import *  # noqa: E402, F403

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
