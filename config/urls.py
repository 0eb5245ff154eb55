"""Root addresses: each app answers its own."""

from django.contrib import admin
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from mlops.api.health import healthz, readyz

urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
    path("readyz", readyz),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path("api/docs/", SpectacularSwaggerSplitView.as_view(url_name="schema"), name="docs"),
    path("api/v1/", include("executions.api.urls")),
    path("api/v1/", include("mlops.api.urls")),
    path("api/v1/", include("datasets.api.urls")),
    path("api/v1/", include("programs.api.urls")),
]

# Problem documents under the API, Django's own pages elsewhere.
handler400 = "mlops.api.problems.bad_request"
handler403 = "mlops.api.problems.permission_denied"
handler404 = "mlops.api.problems.not_found"
handler500 = "mlops.api.problems.server_error"
