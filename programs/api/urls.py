"""Addresses of programs and their parts, below /api/v1/."""

from rest_framework.routers import SimpleRouter

from programs.api.views import (
    ConnectionViewSet,
    DeploymentViewSet,
    ModuleViewSet,
    ProgramViewSet,
    PromptSetViewSet,
    PromptVersionViewSet,
    SignatureViewSet,
)

router = SimpleRouter()
router.register("programs", ProgramViewSet, basename="program")
router.register("signatures", SignatureViewSet, basename="signature")
router.register("modules", ModuleViewSet, basename="module")
router.register("connections", ConnectionViewSet, basename="connection")
router.register("prompt-versions", PromptVersionViewSet, basename="prompt-version")
router.register("prompt-sets", PromptSetViewSet, basename="prompt-set")
router.register("deployments", DeploymentViewSet, basename="deployment")

urlpatterns = router.urls
