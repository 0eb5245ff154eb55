from typing import Any
from uuid import UUID

from django.db import migrations, models


def name_programs(apps: Any, schema_editor: Any) -> None:
    """A program is named by its id, or by its name with a label or a version."""
    programs = apps.get_model("programs", "Program").objects
    for schedule in apps.get_model("optimizations", "Schedule").objects.iterator(chunk_size=500):
        reference = str(schedule.arguments.get("program", ""))
        schedule.program_name = _by_id(programs, reference) or reference.partition("@")[0][:63]
        schedule.save(update_fields=["program_name"])


def _by_id(programs: Any, reference: str) -> str:
    try:
        key = UUID(reference)
    except ValueError:
        return ""
    return programs.filter(pk=key).values_list("name", flat=True).first() or ""


class Migration(migrations.Migration):
    dependencies = [
        ("optimizations", "0006_outcomes_noted_on_jobs"),
        ("programs", "0005_demos"),
    ]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="program_name",
            field=models.CharField(
                default="",
                editable=False,
                help_text="Of which program the arguments name a version.",
                max_length=63,
                verbose_name="program",
            ),
            preserve_default=False,
        ),
        migrations.RunPython(name_programs, migrations.RunPython.noop),
    ]
