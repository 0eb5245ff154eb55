"""Addresses of executions; the async views stand before the viewset's own."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from executions.api import evaluations, repricings, views
from executions.api.collecting import CollectViewSet
from executions.api.metrics import MetricViewSet
from executions.api.usage import ProgramCostView, UsageView

router = SimpleRouter()
router.register("executions", views.ExecutionViewSet, basename="execution")
router.register("feedback", views.FeedbackViewSet, basename="feedback")
router.register("evaluations", evaluations.EvaluationViewSet, basename="evaluation")
router.register("evaluation-items", evaluations.EvaluationItemViewSet, basename="evaluation-item")
router.register("metrics", MetricViewSet, basename="metric")
router.register("repricings", repricings.RepricingViewSet, basename="repricing")
router.register("cost-corrections", repricings.CostCorrectionViewSet, basename="cost-correction")

urlpatterns = [
    path("programs/<str:ref>/execute/", views.execute, name="program-execute"),
    path("programs/<str:ref>/cost/", ProgramCostView.as_view(), name="program-cost"),
    path("usage/", UsageView.as_view(), name="usage"),
    path("executions/collect/", CollectViewSet.as_view({"post": "collect"}), name="execution-collect"),
    path("executions/<uuid:pk>/", views.detail, name="execution-wait"),
    path("executions/<uuid:pk>/events/", views.events, name="execution-events"),
    path(
        "programs/<str:ref>/evaluate/",
        evaluations.EvaluateViewSet.as_view({"post": "start"}),
        name="program-evaluate",
    ),
    path(
        "programs/<str:ref>/evaluate/estimate/",
        evaluations.EvaluateViewSet.as_view({"post": "estimate"}),
        name="program-evaluate-estimate",
    ),
    path("evaluations/<uuid:pk>/", evaluations.detail, name="evaluation-wait"),
    path("evaluations/<uuid:pk>/events/", evaluations.events, name="evaluation-events"),
    path("repricings/<uuid:pk>/", repricings.detail, name="repricing-wait"),
    path("repricings/<uuid:pk>/events/", repricings.events, name="repricing-events"),
    path("", include(router.urls)),
]
