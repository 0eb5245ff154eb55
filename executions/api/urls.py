"""Addresses of executions; the async views stand before the viewset's own."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from executions.api import views

router = SimpleRouter()
router.register("executions", views.ExecutionViewSet, basename="execution")
router.register("feedback", views.FeedbackViewSet, basename="feedback")

urlpatterns = [
    path("programs/<str:ref>/execute/", views.execute, name="program-execute"),
    path("executions/<uuid:pk>/", views.detail, name="execution-wait"),
    path("executions/<uuid:pk>/events/", views.events, name="execution-events"),
    path("", include(router.urls)),
]
