"""Addresses of datasets and corpora, below /api/v1/."""

from rest_framework.routers import SimpleRouter

from datasets.api.views import CorpusViewSet, DatasetViewSet, ExampleViewSet, PassageViewSet

router = SimpleRouter()
router.register("datasets", DatasetViewSet, basename="dataset")
router.register("examples", ExampleViewSet, basename="example")
router.register("corpora", CorpusViewSet, basename="corpus")
router.register("passages", PassageViewSet, basename="passage")

urlpatterns = router.urls
