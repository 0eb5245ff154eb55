from django.db import migrations, models

HELP = (
    "adapter, outputs, capture, deadline_s, parameters, and deploy_gate: the metric by which a version has to "
    "be proven better than the one in production before it is deployed."
)


class Migration(migrations.Migration):
    dependencies = [
        ("programs", "0005_demos"),
    ]

    operations = [
        migrations.AlterField(
            model_name="historicalprogram",
            name="config",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text=HELP,
                verbose_name="config",
            ),
        ),
        migrations.AlterField(
            model_name="program",
            name="config",
            field=models.JSONField(
                blank=True,
                default=dict,
                help_text=HELP,
                verbose_name="config",
            ),
        ),
    ]
