from typing import Any

from django.db import migrations, models

MEMBERS = (
    "name",
    "type",
    "is_list",
    "is_input",
    "description",
    "required",
    "has_default",
    "default",
    "choices",
    "schema",
    "constraints",
)


def tell_shapes(apps: Any, schema_editor: Any) -> None:
    """What signatures are now; of what they were before, nothing is known."""
    fields = apps.get_model("programs", "SignatureField").objects
    for signature in apps.get_model("programs", "Signature").objects.iterator(chunk_size=500):
        signature.shape = list(fields.filter(signature=signature).order_by("position").values(*MEMBERS))
        signature.save(update_fields=["shape"])


class Migration(migrations.Migration):
    dependencies = [
        ("programs", "0003_origin_of_deployments"),
    ]

    operations = [
        migrations.AddField(
            model_name="historicalsignature",
            name="shape",
            field=models.JSONField(
                default=list,
                editable=False,
                help_text="Its fields once more, so that the history knows them.",
                verbose_name="fields",
            ),
        ),
        migrations.AddField(
            model_name="signature",
            name="shape",
            field=models.JSONField(
                default=list,
                editable=False,
                help_text="Its fields once more, so that the history knows them.",
                verbose_name="fields",
            ),
        ),
        migrations.RunPython(tell_shapes, migrations.RunPython.noop),
    ]
