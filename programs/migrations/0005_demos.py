"""Demos as rows, those of present prompt versions too."""

import hashlib
import json
import uuid

import django.db.models.deletion
from django.db import migrations, models

import mlops.models.base

MARK = "_example"
BATCH = 200


def note_demos(apps, schema_editor):
    prompt_version, demo = apps.get_model("programs", "PromptVersion"), apps.get_model("programs", "Demo")
    example = apps.get_model("datasets", "Example")
    keys = list(prompt_version.objects.exclude(demos=[]).values_list("pk", flat=True))
    for start in range(0, len(keys), BATCH):
        for version in prompt_version.objects.filter(pk__in=keys[start : start + BATCH]).only("pk", "demos"):
            named = [_named(one) for one in version.demos]
            known = set(example.objects.filter(pk__in={key for key in named if key}).values_list("pk", flat=True))
            demo.objects.bulk_create(
                demo(
                    id=mlops.models.base.new_id(),
                    prompt_version=version,
                    position=position,
                    digest=_digest({name: value for name, value in one.items() if name != MARK}),
                    example_id=key if key in known else None,
                )
                for position, (one, key) in enumerate(zip(version.demos, named, strict=True))
            )


def _named(demo):
    try:
        return uuid.UUID(str(demo[MARK]))
    except (KeyError, ValueError):
        return None


def _digest(value):
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


class Migration(migrations.Migration):
    dependencies = [
        ("datasets", "0003_origin_of_changes"),
        ("programs", "0004_shape_of_signatures"),
    ]

    operations = [
        migrations.CreateModel(
            name="Demo",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=mlops.models.base.new_id, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("position", models.PositiveSmallIntegerField(verbose_name="position")),
                (
                    "digest",
                    models.CharField(help_text="SHA-256 of its canonical JSON.", max_length=64, verbose_name="digest"),
                ),
                (
                    "example",
                    models.ForeignKey(
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        related_name="+",
                        to="datasets.example",
                        verbose_name="example",
                    ),
                ),
                (
                    "prompt_version",
                    models.ForeignKey(
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="demo_rows",
                        to="programs.promptversion",
                        verbose_name="prompt version",
                    ),
                ),
            ],
            options={
                "verbose_name": "demo",
                "verbose_name_plural": "demos",
                "ordering": ["prompt_version", "position"],
                "indexes": [models.Index(fields=["digest"], name="demo_by_digest")],
                "constraints": [
                    models.UniqueConstraint(fields=("prompt_version", "position"), name="demo_once_per_position")
                ],
            },
        ),
        migrations.RunPython(note_demos, migrations.RunPython.noop),
    ]
