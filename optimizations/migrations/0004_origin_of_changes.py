from django.db import migrations, models

import mlops.models.history


class Migration(migrations.Migration):
    dependencies = [
        ("optimizations", "0003_candidate_scoring"),
    ]

    operations = [
        migrations.AddField(
            model_name="historicalschedule",
            name="history_request_id",
            field=models.CharField(
                blank=True,
                db_index=True,
                default=mlops.models.history.current_request_id,
                max_length=64,
                verbose_name="request",
            ),
        ),
        migrations.AddField(
            model_name="historicalschedule",
            name="history_source",
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
