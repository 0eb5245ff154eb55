"""Django's own defaults, as `startproject` writes them, with PostgreSQL and Celery."""

import os

SECRET_KEY = "a benchmark on loopback"
ALLOWED_HOSTS = ["*"]
ROOT_URLCONF = "benchmarks.naive.urls"
WSGI_APPLICATION = "benchmarks.naive.wsgi.application"
INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "benchmarks.naive",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ["NAIVE_DATABASE"],
        "USER": os.environ["NAIVE_DATABASE_USER"],
        "PASSWORD": os.environ["NAIVE_DATABASE_PASSWORD"],
        "HOST": os.environ["NAIVE_DATABASE_HOST"],
        "PORT": os.environ["NAIVE_DATABASE_PORT"],
    }
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
CELERY_BROKER_URL = os.environ["REDIS_URL"]
PROVIDER_URL = os.environ["PROVIDER_URL"]
