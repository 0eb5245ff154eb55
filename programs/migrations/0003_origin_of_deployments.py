import mlops.models.history
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("programs", "0002_origin_of_changes"),
    ]

    operations = [
        migrations.AddField(
            model_name="deployment",
            name="is_roll_back",
            field=models.BooleanField(default=False, verbose_name="roll-back"),
        ),
        migrations.AddField(
            model_name="deployment",
            name="request_id",
            field=models.CharField(
                blank=True, default=mlops.models.history.current_request_id, max_length=64, verbose_name="request"
            ),
        ),
        migrations.AddField(
            model_name="deployment",
            name="source",
            field=models.CharField(
                choices=[
                    ("admin", "Admin"),
                    ("rest", "REST"),
                    ("graphql", "GraphQL"),
                    ("task", "Task"),
                    ("python", "Python"),
                ],
                default=mlops.models.history.current_source,
                max_length=8,
                verbose_name="source",
            ),
        ),
    ]
