"""Settings: one set of code, the environment chooses (config/env.py)."""

from __future__ import annotations

import os
import secrets
from datetime import timedelta
from ipaddress import ip_network
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
    "graphene_django",
    "django_fsm",
    "simple_history",
    "axes",
    "django_celery_beat",
    "mlops",
    "datasets",
    "programs",
    "executions",
    "optimizations",
    "config",
]

# All of them are async-capable: one that is not would pin a thread to every waiting request.
MIDDLEWARE = [
    "mlops.api.origins.request_origins",
    "mlops.api.headers.security_headers",
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "axes.middleware.AxesMiddleware",
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
        # Compiling a query takes longer than any query here.
        "OPTIONS": {"connect_timeout": 5, "options": "-c jit=off", **dict(parse_qsl(parts.query))},
        "CONN_MAX_AGE": 0,
    }


DATABASES = {"default": _postgresql(ENV.database_url) if ENV.database_url else _SQLITE}

CACHES = {
    "default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": ENV.redis_url}
    if ENV.redis_url
    else {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
}

# Nudges that rows have changed (mlops.services.nudges). The core layer of channels_redis loses idle listeners; that in
# memory forgets them after a while.
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [ENV.redis_url], "prefix": "signet"},
    }
    if ENV.redis_url
    else {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"group_expiry": 10**9}}
}

AUTH_USER_MODEL = "mlops.User"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
]
# The first one makes new hashes; those of the others are replaced when their owners log in.
PASSWORD_HASHERS = ["mlops.passwords.Argon2Hasher", "django.contrib.auth.hashers.PBKDF2PasswordHasher"]
# Who may try to log in, then whether the password is right.
AUTHENTICATION_BACKENDS = ["axes.backends.AxesStandaloneBackend", "django.contrib.auth.backends.ModelBackend"]
LOGIN_URL = reverse_lazy("admin:login")
LOGIN_REDIRECT_URL = reverse_lazy("admin:index")

LANGUAGE_CODE = "en"
USE_I18N = True
USE_TZ = True
TIME_ZONE = ENV.signet_time_zone

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
MEDIA_ROOT = DATA_DIR / "files"

# docs/security.md says what these are for.
_HTTPS = ENV.is_served_by_https
_COOKIE_PREFIX = "__Host-" if _HTTPS else ""  # browsers take such a cookie from this very host by HTTPS alone
SESSION_ENGINE = "mlops.sessions"
SESSION_COOKIE_NAME = f"{_COOKIE_PREFIX}sessionid"
SESSION_COOKIE_AGE = 12 * 3600
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
SESSION_COOKIE_SECURE = _HTTPS
CSRF_COOKIE_NAME = f"{_COOKIE_PREFIX}csrftoken"
CSRF_COOKIE_HTTPONLY = True
CSRF_COOKIE_SAMESITE = "Lax"
CSRF_COOKIE_SECURE = _HTTPS
SECURE_CONTENT_TYPE_NOSNIFF = True
SECURE_REFERRER_POLICY = "same-origin"
SECURE_CROSS_ORIGIN_OPENER_POLICY = "same-origin"
SECURE_HSTS_SECONDS = 365 * 24 * 3600 if _HTTPS else 0
SECURE_HSTS_INCLUDE_SUBDOMAINS = _HTTPS
# To preload binds a whole domain for years: its owner asks for that, not one of the applications below it.
SILENCED_SYSTEM_CHECKS = ["security.W021"]
# Who is behind a proxy that is not believed would be sent from HTTPS to HTTPS for ever.
SECURE_SSL_REDIRECT = _HTTPS and bool(ENV.signet_trusted_proxies)
SECURE_REDIRECT_EXEMPT = [r"^healthz$", r"^readyz$"]
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if ENV.signet_trusted_proxies else None
X_FRAME_OPTIONS = "DENY"

AXES_ENABLE_ADMIN = False  # mlops.admin.lockouts
AXES_FAILURE_LIMIT = ENV.signet_login_attempts
AXES_COOLOFF_TIME = timedelta(minutes=15)
AXES_LOCKOUT_PARAMETERS = [["username", "ip_address"]]
AXES_LOCKOUT_CALLABLE = "mlops.admin.lockouts.locked_out"
AXES_CLIENT_IP_CALLABLE = "mlops.api.clients.client_address"
AXES_RESET_ON_SUCCESS = True
AXES_RESET_COOL_OFF_ON_FAILURE_DURING_LOCKOUT = False  # or whoever keeps trying keeps the owner out
AXES_DISABLE_ACCESS_LOG = True
AXES_SENSITIVE_PARAMETERS = ["username", "csrfmiddlewaretoken"]  # a password gets typed where the name belongs
AXES_VERBOSE = False
CSRF_FAILURE_VIEW = "mlops.api.problems.csrf_failure"
# Bodies are counted while they arrive (mlops.api.bodies), since Django's own limit would answer 400 instead of 413; it
# only bounds what stands beside a file. Files go to the disk as they arrive.
DATA_UPLOAD_MAX_MEMORY_SIZE = ENV.signet_max_body_bytes
FILE_UPLOAD_HANDLERS = ["django.core.files.uploadhandler.TemporaryFileUploadHandler"]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "mlops.api.authentication.BearerAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["rest_framework.permissions.IsAuthenticated"],
    "DEFAULT_THROTTLE_CLASSES": ["mlops.api.throttling.RateThrottle"],
    "DEFAULT_PARSER_CLASSES": ["mlops.api.bodies.StrictJSONParser"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PAGINATION_CLASS": "mlops.api.pagination.KeysetPagination",
    "DEFAULT_FILTER_BACKENDS": [
        "django_filters.rest_framework.DjangoFilterBackend",
        "mlops.api.filters.KnownOrderingFilter",
        "mlops.filters.BoundedSearchFilter",
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
    "PREPROCESSING_HOOKS": [
        "executions.api.schema.add_async_views",
        "datasets.api.schema.add_async_views",
        "optimizations.api.schema.add_async_views",
    ],
    "POSTPROCESSING_HOOKS": [
        "drf_spectacular.hooks.postprocess_schema_enums",
        "mlops.api.schema.document_problems",
        "mlops.api.schema.say_anything_once",
    ],
    "ENUM_NAME_OVERRIDES": {
        "BudgetPeriodEnum": "mlops.models.budgets.PERIOD_CHOICES",
        "BudgetScopeEnum": "mlops.models.budgets.SCOPE_CHOICES",
        "ChangeSourceEnum": "mlops.models.history.SOURCE_CHOICES",
        "CreditKindEnum": "mlops.models.credits.KIND_CHOICES",
        "DatasetTypeEnum": "datasets.models.TYPE_CHOICES",
        "FileFormatEnum": "datasets.models.imports.FORMAT_CHOICES",
        "ImportKindEnum": "datasets.models.imports.KIND_CHOICES",
        "VersionStateEnum": "datasets.models.datasets.VERSION_STATE_CHOICES",
        "ExecutionModeEnum": "executions.models.executions.MODE_CHOICES",
        "ExecutionSourceEnum": "executions.models.executions.SOURCE_CHOICES",
        "ExecutionStateEnum": "executions.models.executions.STATE_CHOICES",
        "FieldTypeEnum": "programs.models.signatures.FIELD_TYPE_CHOICES",
        "LanguageModelKindEnum": "mlops.models.language_models.KIND_CHOICES",
        "MetricKindEnum": "executions.models.metrics.METRIC_KIND_CHOICES",
        "UsageKindEnum": "executions.models.usage.USAGE_KIND_CHOICES",
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
    "STYLES": [lambda _request: static("mlops/admin.css")],
    "SHOW_HISTORY": True,
    "SHOW_VIEW_ON_SITE": False,
    "DASHBOARD_CALLBACK": "executions.admin.usage.dashboard",
    "SIDEBAR": {"show_search": True, "show_all_applications": False, "navigation": "config.admin_site.navigation"},
}


CELERY_BROKER_URL = ENV.redis_url or "memory://localhost/"
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_DEFAULT_QUEUE = "ml_inference"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_TRANSPORT_OPTIONS = {"visibility_timeout": 12 * 3600} if ENV.redis_url else {"polling_interval": 0.02}
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_RESULT_EXPIRES = None  # there are no results, so that beat need not clean up after them
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"
CELERY_BEAT_SCHEDULE = {
    "sweep executions": {"task": "executions.sweep", "schedule": 5.0, "options": {"expire_seconds": 5}},
    "sweep evaluations": {"task": "executions.sweep_evaluations", "schedule": 5.0, "options": {"expire_seconds": 5}},
    "sweep repricings": {"task": "executions.sweep_repricings", "schedule": 5.0, "options": {"expire_seconds": 5}},
    "count usage": {"task": "executions.count_usage", "schedule": 5.0, "options": {"expire_seconds": 5}},
    "sweep imports": {"task": "datasets.sweep_imports", "schedule": 5.0, "options": {"expire_seconds": 5}},
    "discard orphaned uploads": {
        "task": "datasets.discard_orphans",
        "schedule": 3600.0,
        "options": {"expire_seconds": 3600},
    },
    "sweep reservations": {"task": "mlops.sweep_reservations", "schedule": 60.0, "options": {"expire_seconds": 60}},
    "look after budgets": {"task": "mlops.look_after_budgets", "schedule": 5.0, "options": {"expire_seconds": 5}},
    "forget expired keys": {"task": "mlops.forget_expired_keys", "schedule": 60.0, "options": {"expire_seconds": 60}},
    "forget expired sessions": {
        "task": "mlops.forget_expired_sessions",
        "schedule": 3600.0,
        "options": {"expire_seconds": 3600},
    },
    "sweep optimizations": {"task": "optimizations.sweep", "schedule": 5.0, "options": {"expire_seconds": 5}},
    "forget answers of optimizations": {
        "task": "optimizations.forget_answers",
        "schedule": 3600.0,
        "options": {"expire_seconds": 3600},
    },
}

_MAIL = ENV.mail_server
EMAIL_BACKEND = f"django.core.mail.backends.{'smtp' if _MAIL.host else 'console'}.EmailBackend"
EMAIL_HOST, EMAIL_PORT = _MAIL.host, _MAIL.port
EMAIL_HOST_USER, EMAIL_HOST_PASSWORD = _MAIL.user, _MAIL.password
EMAIL_USE_SSL, EMAIL_USE_TLS = _MAIL.is_tls, _MAIL.starts_tls
EMAIL_TIMEOUT = 10
DEFAULT_FROM_EMAIL = ENV.signet_mail_from
SERVER_EMAIL = ENV.signet_mail_from

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "filters": {
        # A traceback for each WebSocket of a stranger; the client is told with code 1007.
        "without_bad_text": {
            "()": "django.utils.log.CallbackFilter",
            "callback": lambda record: record.msg != "Invalid UTF-8 sequence received from client.",
        }
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["stderr"], "level": ENV.signet_log_level},
    "loggers": {
        "celery": {"level": "WARNING"},
        "django.request": {"level": "ERROR"},  # what a client did wrong is told to the client
        "uvicorn.error": {"filters": ["without_bad_text"]},
        # DSPy logs the values of users; only that something went wrong may pass.
        "dspy": {"handlers": [], "level": "CRITICAL", "propagate": False},
        "axes": {"level": "WARNING"},
        # On DEBUG they write headers and bodies of calls, with what providers say back and with keys.
        **{name: {"level": "WARNING"} for name in ("LiteLLM", "httpcore", "httpx", "openai", "aiohttp", "urllib3")},
        # It writes a traceback a second while Redis is away, which others tell in a line.
        "channels_redis": {"level": "CRITICAL"},
        # Two lines for each ring of the doorbell would bury everything else.
        "celery.worker": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "django_celery_beat": {"level": "WARNING"},
        # It sets its own level to DEBUG when it is imported; without handlers only warnings get out.
        "bm25s": {"handlers": [], "propagate": False},
    },
}

SIGNET_ENCRYPTION_KEYS = ENV.signet_encryption_keys or [SECRET_KEY]
SIGNET_LANGUAGE_MODEL = ENV.signet_language_model
SIGNET_ALLOWED_PRIVATE_HOSTS = ENV.allowed_private_hosts
SIGNET_CREDITS_PER_USD = ENV.signet_credits_per_usd
SIGNET_CONCURRENCY = ENV.signet_concurrency
SIGNET_LEASE_SECONDS = ENV.signet_lease_seconds
SIGNET_DEADLINE_SECONDS = ENV.signet_deadline_seconds
SIGNET_RATE_LIMIT = ENV.signet_rate_limit
SIGNET_CONNECTIONS_PER_USER = ENV.signet_connections_per_user
SIGNET_OPERATIONS_PER_CONNECTION = ENV.signet_operations_per_connection
SIGNET_REDIS_URL = ENV.redis_url
SIGNET_MAX_BODY_BYTES = ENV.signet_max_body_bytes
SIGNET_MAX_UPLOAD_BYTES = ENV.signet_max_upload_bytes
# Where files arrive: only there a body may be as large as a file.
SIGNET_UPLOAD_PATHS = r"/api/v1/(datasets|corpora)/import/|/admin/datasets/(dataset|corpus)/import/"
SIGNET_TRUSTED_PROXIES = [ip_network(network) for network in ENV.signet_trusted_proxies]
SIGNET_IS_EMBEDDED = ENV.is_embedded
SIGNET_MODULES = dict(item.split("=", 1) for item in ENV.signet_modules)
SIGNET_METRICS = dict(item.split("=", 1) for item in ENV.signet_metrics)
SIGNET_TOOLS = {
    "search_knowledge_base": "executions.runtime.tools:search_knowledge_base",
    "delivery_date": "executions.runtime.tools:delivery_date",
    **dict(item.split("=", 1) for item in ENV.signet_tools),
}
