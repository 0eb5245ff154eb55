from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mlops", "0003_token_scopes"),
    ]

    operations = [
        migrations.AddField(
            model_name="historicalmodelprice",
            name="cache_write_price",
            field=models.PositiveBigIntegerField(
                blank=True,
                help_text="Input that is written to the provider's cache.",
                null=True,
                verbose_name="cache write",
            ),
        ),
        migrations.AddField(
            model_name="historicalmodelprice",
            name="reasoning_price",
            field=models.PositiveBigIntegerField(
                blank=True, help_text="Empty: as output.", null=True, verbose_name="reasoning"
            ),
        ),
        migrations.AddField(
            model_name="historicalmodelprice",
            name="request_price",
            field=models.PositiveBigIntegerField(default=0, help_text="Pico-dollars.", verbose_name="per request"),
        ),
        migrations.AddField(
            model_name="historicalmodelprice",
            name="source",
            field=models.CharField(blank=True, max_length=200, verbose_name="source"),
        ),
        migrations.AddField(
            model_name="historicalmodelprice",
            name="source_date",
            field=models.DateField(blank=True, null=True, verbose_name="date of the source"),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="cache_write_price",
            field=models.PositiveBigIntegerField(
                blank=True,
                help_text="Input that is written to the provider's cache.",
                null=True,
                verbose_name="cache write",
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="reasoning_price",
            field=models.PositiveBigIntegerField(
                blank=True, help_text="Empty: as output.", null=True, verbose_name="reasoning"
            ),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="request_price",
            field=models.PositiveBigIntegerField(default=0, help_text="Pico-dollars.", verbose_name="per request"),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="source",
            field=models.CharField(blank=True, max_length=200, verbose_name="source"),
        ),
        migrations.AddField(
            model_name="modelprice",
            name="source_date",
            field=models.DateField(blank=True, null=True, verbose_name="date of the source"),
        ),
    ]
