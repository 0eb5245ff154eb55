import django.db.models.deletion
from django.db import migrations, models

import mlops.models.accounts
import mlops.models.history


class Migration(migrations.Migration):
    dependencies = [
        ("mlops", "0002_origin_of_changes"),
    ]

    operations = [
        migrations.AddField(
            model_name="apitoken",
            name="programs",
            field=models.JSONField(
                blank=True,
                default=list,
                help_text="Names of the programs it is good for; empty: all.",
                verbose_name="programs",
            ),
        ),
        migrations.AddField(
            model_name="apitoken",
            name="rate_limit",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Requests per minute; empty: the installation's.",
                null=True,
                verbose_name="rate limit",
            ),
        ),
        migrations.AddField(
            model_name="apitoken",
            name="replaced_by",
            field=models.OneToOneField(
                blank=True,
                editable=False,
                null=True,
                on_delete=django.db.models.deletion.SET_NULL,
                related_name="replaces",
                to="mlops.apitoken",
                verbose_name="replaced by",
            ),
        ),
        migrations.AddField(
            model_name="apitoken",
            name="scopes",
            field=models.JSONField(default=mlops.models.accounts.every_scope, verbose_name="scopes"),
        ),
        migrations.AddField(
            model_name="historicaluser",
            name="rate_limit",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Requests per minute; empty: the installation's.",
                null=True,
                verbose_name="rate limit",
            ),
        ),
        migrations.AddField(
            model_name="user",
            name="rate_limit",
            field=models.PositiveIntegerField(
                blank=True,
                help_text="Requests per minute; empty: the installation's.",
                null=True,
                verbose_name="rate limit",
            ),
        ),
    ]
