import json

from django.http import HttpRequest, JsonResponse
from django.urls import path
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from benchmarks.naive.models import Execution
from benchmarks.naive.tasks import run


@csrf_exempt
@require_POST
def execute(request: HttpRequest) -> JsonResponse:
    execution = Execution.objects.create(question=json.loads(request.body)["question"])
    run.delay(execution.pk)
    return JsonResponse({"id": execution.pk, "state": execution.state}, status=202)


urlpatterns = [path("", execute)]
