"""`/healthz`: the process is alive. `/readyz`: database, migrations and broker are there."""

from __future__ import annotations

import redis
from asgiref.sync import sync_to_async
from django.conf import settings
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse

BROKER_TIMEOUT_S = 2.0

# Migrations that have been applied stay applied while this process lives.
_is_migrated = False


async def healthz(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})


async def readyz(request: HttpRequest) -> JsonResponse:
    """200 `{"status": "ready"}`, or 503 with what is missing."""
    missing = await sync_to_async(_missing)()
    if missing:
        return JsonResponse({"status": "unavailable", "missing": missing}, status=503)
    return JsonResponse({"status": "ready", "missing": []})


def _missing() -> list[str]:
    parts = {"database": _database_answers, "migrations": _all_migrated, "broker": broker_answers}
    return [name for name, is_there in parts.items() if not is_there()]


def _database_answers() -> bool:
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    except DatabaseError:
        return False
    return True


def _all_migrated() -> bool:
    global _is_migrated  # noqa: PLW0603  # one fact about the process
    if not _is_migrated:
        try:
            executor = MigrationExecutor(connection)
            _is_migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
        except DatabaseError:
            return False
    return _is_migrated


def broker_answers() -> bool:
    """Whether the doorbell can be rung: Redis answers, or the broker is this process."""
    if settings.SIGNET_IS_EMBEDDED:
        return True  # the broker is this process
    try:
        with redis.Redis.from_url(
            settings.CELERY_BROKER_URL, socket_timeout=BROKER_TIMEOUT_S, socket_connect_timeout=BROKER_TIMEOUT_S
        ) as broker:
            return bool(broker.ping())
    except redis.RedisError:
        return False
