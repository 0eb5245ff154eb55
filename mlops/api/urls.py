"""Addresses of the foundation below `/api/v1/`."""

from rest_framework.routers import SimpleRouter

from mlops.api.budgets import BudgetViewSet
from mlops.api.credits import CreditEntryViewSet
from mlops.api.language_models import LanguageModelViewSet
from mlops.api.prices import ModelPriceViewSet
from mlops.api.tokens import ApiTokenViewSet
from mlops.api.users import UserViewSet

router = SimpleRouter()
router.register("users", UserViewSet)
router.register("tokens", ApiTokenViewSet)
router.register("credits", CreditEntryViewSet)
router.register("budgets", BudgetViewSet)
router.register("language-models", LanguageModelViewSet)
router.register("prices", ModelPriceViewSet)

urlpatterns = router.urls
