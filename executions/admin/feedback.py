"""The admin list of feedback."""

from __future__ import annotations

from django.contrib import admin

from executions.models import Feedback
from executions.policies import feedback_policy
from mlops.admin.base import ServiceAdmin


@admin.register(Feedback)
class FeedbackAdmin(ServiceAdmin):
    policy = feedback_policy
    list_display = ("created_at", "name", "score", "comment", "user", "execution")
    list_filter = ("name",)
    list_select_related = ("user",)
    search_fields = ("=execution__id", "comment")
    readonly_fields = ("execution", "user", "name", "score", "comment", "expected", "created_at")
