"""Addresses as OpenAI's clients know them: without a slash at the end."""

from django.urls import path

from executions.api.openai import views

urlpatterns = [
    path("chat/completions", views.chat_completions, name="openai-chat-completions"),
    path("models", views.models, name="openai-models"),
    path("models/<str:model>", views.model, name="openai-model"),
]
