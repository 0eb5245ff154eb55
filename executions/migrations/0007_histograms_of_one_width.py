"""Histograms as texts that are merged quickly, in place of JSON objects of buckets; `executions.runtime.latency`."""

from django.db import migrations, models

POSTGRESQL = (
    """
    UPDATE executions_usageday SET histogram = (
        SELECT string_agg(
            to_char(CAST(e.key AS integer), 'SG000') || ':' || to_char(CAST(e.value AS bigint), 'SG0000000000'), ','
            ORDER BY CAST(e.key AS integer)
        ) FROM jsonb_each_text(latency) AS e
    ) WHERE latency <> '{}'
    """,
    """
    UPDATE executions_usageday SET latency = (
        SELECT jsonb_object_agg(CAST(substr(e.value, 1, 4) AS integer), CAST(substr(e.value, 6) AS bigint))
        FROM unnest(string_to_array(histogram, ',')) AS e (value)
    ) WHERE histogram <> ''
    """,
)
SQLITE = (
    """
    UPDATE executions_usageday SET histogram = (
        SELECT group_concat(
            CASE WHEN e.key < 0 THEN '-' ELSE '+' END || substr('000' || abs(e.key), -3) || ':+'
            || substr('0000000000' || e.value, -10)
        ) FROM (SELECT CAST(key AS integer) AS key, value FROM json_each(latency) ORDER BY 1) AS e
    ) WHERE latency <> '{}'
    """,
    """
    UPDATE executions_usageday SET latency = (
        SELECT json_group_object(
            CAST(CAST(substr(e.value, 1, 4) AS integer) AS text), CAST(substr(e.value, 6) AS integer)
        ) FROM json_each('["' || replace(histogram, ',', '","') || '"]') AS e
    ) WHERE histogram <> ''
    """,
)


def _run(schema_editor, forwards):
    statements = POSTGRESQL if schema_editor.connection.vendor == "postgresql" else SQLITE
    schema_editor.execute(statements[0 if forwards else 1])


class Migration(migrations.Migration):
    dependencies = [("executions", "0006_by_prompt_set")]

    operations = [
        migrations.AddField(
            model_name="usageday",
            name="histogram",
            field=models.TextField(blank=True, default="", help_text="Bucket and how many.", verbose_name="histogram"),
        ),
        migrations.RunPython(
            lambda _apps, schema_editor: _run(schema_editor, True),
            lambda _apps, schema_editor: _run(schema_editor, False),
        ),
        migrations.RemoveField(model_name="usageday", name="latency"),
    ]
