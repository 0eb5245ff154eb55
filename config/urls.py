"""Root addresses: each app answers its own."""

from typing import NoReturn

from django.contrib import admin
from django.http import Http404, HttpRequest
from django.urls import URLPattern, URLResolver, include, path
from django.views.generic import RedirectView
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerSplitView

from config.graphql import schema
from mlops.admin.passwords import OwnPasswordView
from mlops.api.health import healthz, readyz
from mlops.graphql.views import GraphQLView


def not_there(request: HttpRequest, row: str) -> NoReturn:
    """Instead of the admin's way to a row's page on the site: there is no site beside it."""
    raise Http404


urlpatterns: list[URLPattern | URLResolver] = [
    path("", RedirectView.as_view(pattern_name="admin:index")),
    path("admin/r/<path:row>/", not_there),
    path("admin/password_change/", admin.site.admin_view(OwnPasswordView.as_view(), cacheable=True)),
    path("admin/", admin.site.urls),
    path("healthz", healthz),
    path("readyz", readyz),
    path("api/schema/", SpectacularAPIView.as_view(), name="schema"),
    path(
        "api/docs/",
        SpectacularSwaggerSplitView.as_view(
            url_name="schema", template_name="mlops/api/docs.html", authentication_classes=[]
        ),
        name="docs",
    ),
    path("graphql/", GraphQLView.as_view(schema=schema), name="graphql"),
    path("v1/", include("executions.api.openai.urls")),
    path("api/v1/", include("executions.api.urls")),
    path("api/v1/", include("optimizations.api.urls")),
    path("api/v1/", include("mlops.api.urls")),
    path("api/v1/", include("datasets.api.urls")),
    path("api/v1/", include("programs.api.urls")),
]

# Problem documents under the API, Django's own pages elsewhere.
handler400 = "mlops.api.problems.bad_request"
handler403 = "mlops.api.problems.permission_denied"
handler404 = "mlops.api.problems.not_found"
handler500 = "mlops.api.problems.server_error"
