"""Addresses of datasets, corpora and imports, below /api/v1/; the async views stand before the viewset's own."""

from django.urls import include, path
from rest_framework.routers import SimpleRouter

from datasets.api import datasets, imports
from datasets.api.corpora import CorpusViewSet, PassageViewSet

router = SimpleRouter()
router.register("datasets", datasets.DatasetViewSet, basename="dataset")
router.register("examples", datasets.ExampleViewSet, basename="example")
router.register("corpora", CorpusViewSet, basename="corpus")
router.register("passages", PassageViewSet, basename="passage")
router.register("imports", imports.ImportViewSet, basename="import")

urlpatterns = [
    path("datasets/<uuid:pk>/export/", datasets.export, name="dataset-export"),
    path("imports/<uuid:pk>/", imports.detail, name="import-wait"),
    path("imports/<uuid:pk>/events/", imports.events, name="import-events"),
    path("", include(router.urls)),
]
