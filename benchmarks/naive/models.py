from django.db import models


class Execution(models.Model):  # noqa: DJ008
    """One run of the program."""

    question = models.TextField()
    output = models.JSONField(null=True)
    state = models.CharField(max_length=20, default="pending")
    created_at = models.DateTimeField(auto_now_add=True)
    finished_at = models.DateTimeField(null=True)

    class Meta:
        app_label = "naive"
