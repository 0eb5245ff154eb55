from typing import Any

from django.db import migrations, models

TERMINAL_STATES = ("completed", "failed", "cancelled")


def note_what_has_ended(apps: Any, schema_editor: Any) -> None:
    """What ended before is done with, but for the jobs whose schedules wait for them still: nothing old is deployed."""
    waiting = apps.get_model("optimizations", "Schedule").objects.filter(
        last_kind="optimization", last_id__isnull=False, last_result="", last_error=""
    )
    ended = apps.get_model("optimizations", "Optimization").objects.filter(
        source_kind="schedule", state__in=TERMINAL_STATES
    )
    ended.exclude(pk__in=waiting.values("last_id")).update(is_noted=True)


class Migration(migrations.Migration):
    dependencies = [
        ("optimizations", "0005_counted"),
    ]

    operations = [
        migrations.AddField(
            model_name="optimization",
            name="is_noted",
            field=models.BooleanField(
                default=False,
                editable=False,
                help_text="The schedule that started it has taken its outcome.",
                verbose_name="noted",
            ),
        ),
        migrations.AddIndex(
            model_name="optimization",
            index=models.Index(
                condition=models.Q(("is_noted", False), ("source_kind", "schedule")),
                fields=["source_id"],
                name="optimization_unnoted",
            ),
        ),
        migrations.RunPython(note_what_has_ended, migrations.RunPython.noop),
    ]
