from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("optimizations", "0007_programs_of_schedules"),
    ]

    operations = [
        migrations.AddField(
            model_name="schedule",
            name="claimed_at",
            field=models.DateTimeField(
                editable=False,
                help_text="When a due minute was taken that has not led to a start yet.",
                null=True,
            ),
        ),
    ]
