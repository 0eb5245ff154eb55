"""Addresses as OpenAI's clients know them: without a slash at the end.

They stand in no OpenAPI document of ours: OpenAI describes its own API, and docs/openai.md says what is different here.
"""

from django.urls import path

from executions.api.openai import views

urlpatterns = [
    path("chat/completions", views.chat_completions, name="openai-chat-completions"),
    path("models", views.models, name="openai-models"),
    path("models/<str:model>", views.model, name="openai-model"),
]
