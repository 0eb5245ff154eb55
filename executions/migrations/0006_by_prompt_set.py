import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("executions", "0005_repricing"),
        ("programs", "0005_demos"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="execution",
            index=models.Index(fields=["prompt_set", "-id"], name="execution_by_prompt_set"),
        ),
        migrations.AlterField(
            model_name="execution",
            name="prompt_set",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.PROTECT,
                related_name="executions",
                to="programs.promptset",
                verbose_name="prompt set",
            ),
        ),
    ]
