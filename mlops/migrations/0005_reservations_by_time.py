from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ("mlops", "0004_price_lines"),
    ]

    operations = [
        migrations.AddIndex(
            model_name="creditentry",
            index=models.Index(
                condition=models.Q(("kind", "reserve")), fields=["created_at"], name="credit_entry_reservations"
            ),
        ),
    ]
