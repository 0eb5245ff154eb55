"""Addresses of optimizations, below /api/v1/; the async views stand before the viewset's own."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from optimizations.api import views
from optimizations.api.schedules import ScheduleViewSet

router = SimpleRouter()
router.register("optimizations", views.OptimizationViewSet, basename="optimization")
router.register("candidates", views.CandidateViewSet, basename="candidate")
router.register("schedules", ScheduleViewSet, basename="schedule")

urlpatterns = [
    path("programs/<str:ref>/compile/", views.CompileViewSet.as_view({"post": "start"}), name="program-compile"),
    path(
        "programs/<str:ref>/compile/estimate/",
        views.CompileViewSet.as_view({"post": "estimate"}),
        name="program-compile-estimate",
    ),
    path("optimizers/", views.OptimizersView.as_view(), name="optimizer-list"),
    path("optimizations/<uuid:pk>/", views.detail, name="optimization-wait"),
    path("optimizations/<uuid:pk>/events/", views.events, name="optimization-events"),
    path("", include(router.urls)),
]
