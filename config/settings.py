"""Settings: one set of code, the environment chooses (config/env.py)."""

from __future__ import annotations

import os
import secrets
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from django.templatetags.static import static
from django.urls import reverse_lazy

from config.env import BASE_DIR, read_environment

ENV = read_environment()

DATA_DIR = ENV.signet_data_dir


def _kept_secret(path: Path) -> str:
    """A secret made on first use and kept beside the embedded database, readable by its owner alone."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text().strip()


SECRET_KEY = ENV.signet_secret_key or _kept_secret(DATA_DIR / "secret_key")
DEBUG = ENV.signet_debug
ALLOWED_HOSTS = ENV.signet_allowed_hosts
CSRF_TRUSTED_ORIGINS = ENV.signet_trusted_origins

# LiteLLM and DSPy would otherwise fetch a price map from a foreign host.
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "true"

INSTALLED_APPS = [
    "unfold",
    "unfold.contrib.filters",
    "unfold.contrib.simple_history",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "rest_framework",
    "django_filters",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_fsm",
    "simple_history",
    "mlops",
    "datasets",
    "programs",
    "executions",
    "optimizations",
    "config",
]

# All of them are async-capable: one that is not would pin a thread to every waiting request.
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# IMMEDIATE and a busy timeout: without them one write in twenty fails with "database is locked" under load.
_SQLITE = {
    "ENGINE": "django.db.backends.sqlite3",
    "NAME": DATA_DIR / "signet.sqlite3",
    "OPTIONS": {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA journal_size_limit=67108864;",
    },
    # An in-memory database locks across threads, and executions run off the request thread.
    "TEST": {"NAME": DATA_DIR / "test.sqlite3"},
}


def _postgresql(url: str) -> dict[str, object]:
    parts = urlsplit(url)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": parts.hostname or "",
        "PORT": parts.port or "",
        "OPTIONS": {"connect_timeout": 5, **dict(parse_qsl(parts.query))},
        "CONN_MAX_AGE": 0,
    }


DATABASES = {"default": _postgresql(ENV.database_url) if ENV.database_url else _SQLITE}

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": ENV.redis_url}
    if ENV.redis_url
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

AUTH_USER_MODEL = "mlops.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = ENV.signet_time_zone

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
MEDIA_ROOT = DATA_DIR / "files"

SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SECURE_CONTENT_TYPE_NOSNIFF = True
X_FRAME_OPTIONS = "DENY"
CSRF_FAILURE_VIEW = "mlops.api.problems.csrf_failure"
# Bodies are counted while they arrive (mlops.api.bodies): Django's own limit would answer 400 instead of 413.
DATA_UPLOAD_MAX_MEMORY_SIZE = None

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "mlops.api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_PARSER_CLASSES": ["mlops.api.bodies.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "mlops.api.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "mlops.api.filters.KnownOrderingFilter",
        "rest_framework.filters.SearchFilter",
    ],
    "DEFAULT_SCHEMA_CLASS": "drf_spectacular.openapi.AutoSchema",
    "EXCEPTION_HANDLER": "mlops.api.problems.exception_handler",
    "TEST_REQUEST_DEFAULT_FORMAT": "json",
    "DATETIME_FORMAT": "iso-8601",
    "COERCE_DECIMAL_TO_STRING": True,
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Signet",
    "DESCRIPTION": "DSPy programs as business records.",
    "VERSION": "1",
    "OAS_VERSION": "3.1.1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "PREPROCESSING_HOOKS": ["executions.api.schema.add_async_views"],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "mlops.api.schema.document_problems",
    ],
    "ENUM_NAME_OVERRIDES": {
        "CreditKindEnum": "mlops.models.credits.KIND_CHOICES",
        "DatasetTypeEnum": "datasets.models.TYPE_CHOICES",
        "ExecutionModeEnum": "executions.models.executions.MODE_CHOICES",
        "ExecutionSourceEnum": "executions.models.executions.SOURCE_CHOICES",
        "ExecutionStateEnum": "executions.models.executions.STATE_CHOICES",
        "FieldTypeEnum": "programs.models.signatures.FIELD_TYPE_CHOICES",
        "LanguageModelKindEnum": "mlops.models.language_models.KIND_CHOICES",
        "ModuleKindEnum": "programs.models.programs.KIND_CHOICES",
        "ProgramStatusEnum": "programs.models.programs.STATUS_CHOICES",
    },
}

UNFOLD = {
    "SITE_TITLE": "Signet",
    "SITE_HEADER": "Signet",
    "SITE_URL": None,  # there is no site beside it
    "SITE_SYMBOL": "verified",
    "SITE_FAVICONS": [{"rel": "icon", "type": "image/svg+xml", "href": lambda _request: static("mlops/favicon.svg")}],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": "config.admin_site.navigation"},
}


CELERY_BROKER_URL = ENV.redis_url or "memory://localhost/"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "ml_inference"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 12 * 3600} if ENV.redis_url else {"polling_interval": 0.02}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep executions": {"task": "executions.sweep", "schedule": 5.0, "options": {"expires": 5}},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": ENV.signet_log_level},
    "loggers": {
        "celery": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},  # what a client did wrong is told to the client
        # DSPy logs the values of users; only that something went wrong may pass.
        "dspy": {"handlers": [], "level": "CRITICAL", "propagate": False},
        # Two lines for each ring of the doorbell would bury everything else.
        "celery.worker": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        # It sets its own level to DEBUG when it is imported; without handlers only warnings get out.
        "bm25s": {"handlers": [], "propagate": False},
    },
}

SIGNET_ENCRYPTION_KEYS = ENV.signet_encryption_keys or [SECRET_KEY]
SIGNET_LANGUAGE_MODEL = ENV.signet_language_model
SIGNET_CREDITS_PER_USD = ENV.signet_credits_per_usd
SIGNET_CONCURRENCY = ENV.signet_concurrency
SIGNET_LEASE_SECONDS = ENV.signet_lease_seconds
SIGNET_DEADLINE_SECONDS = ENV.signet_deadline_seconds
SIGNET_MAX_BODY_BYTES = ENV.signet_max_body_bytes
SIGNET_IS_EMBEDDED = ENV.is_embedded
SIGNET_MODULES = dict(item.split("=", 1) for item in ENV.signet_modules)
SIGNET_TOOLS = {
    "search_knowledge_base": "executions.runtime.tools:search_knowledge_base",
    "delivery_date": "executions.runtime.tools:delivery_date",
    **dict(item.split("=", 1) for item in ENV.signet_tools),
}
