"""The tables of the outbox, the inbox and of tasks."""

from django.db import migrations, models

from duebus.integrations.django.fields import ExactField, Utf8CharField, Utf8TextField


class Migration(migrations.Migration):
    """The first one."""

    initial = True
    dependencies = ()
    operations = (
        migrations.CreateModel(
            name="OutboxSlot",
            fields=[
                ("slot", models.SmallIntegerField(primary_key=True, serialize=False)),
            ],
            options={
                "db_table": "duebus_outbox_slot",
            },
        ),
        migrations.CreateModel(
            name="InboxKey",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "topic",
                        "consumer_group",
                        "event_key",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("topic", ExactField(max_length=255)),
                ("consumer_group", ExactField(max_length=255)),
                ("event_key", ExactField(max_length=255)),
                ("fencing_token", models.BigIntegerField()),
                ("handled_at", models.DateTimeField()),
            ],
            options={
                "db_table": "duebus_inbox_key",
                "indexes": [models.Index(fields=["handled_at"], name="duebus_inbox_key_by_time")],
            },
        ),
        migrations.CreateModel(
            name="InboxNote",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "topic",
                        "consumer_group",
                        "event_id",
                        blank=True,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                    ),
                ),
                ("topic", ExactField(max_length=255)),
                ("consumer_group", ExactField(max_length=255)),
                ("event_id", ExactField(max_length=255)),
                ("handled_at", models.DateTimeField()),
            ],
            options={
                "db_table": "duebus_inbox",
                "indexes": [models.Index(fields=["handled_at"], name="duebus_inbox_by_time")],
            },
        ),
        migrations.CreateModel(
            name="OutboxRow",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("event_id", Utf8CharField(max_length=255)),
                ("topic", Utf8CharField(max_length=255)),
                ("slot", models.SmallIntegerField()),
                ("event", models.BinaryField()),
                ("created_at", models.DateTimeField()),
                ("error", Utf8TextField(null=True)),
            ],
            options={
                "db_table": "duebus_outbox",
                "indexes": [models.Index(fields=["slot", "id"], name="duebus_outbox_by_slot")],
            },
        ),
        migrations.CreateModel(
            name="TaskRun",
            fields=[
                ("id", ExactField(max_length=255, primary_key=True, serialize=False)),
                ("backend", models.CharField(max_length=255)),
                ("task", models.CharField(max_length=255)),
                ("queue_name", models.CharField(max_length=255)),
                ("priority", models.SmallIntegerField()),
                ("run_after", models.DateTimeField(null=True)),
                ("arguments", models.JSONField()),
                ("status", models.CharField(max_length=16)),
                ("enqueued_at", models.DateTimeField()),
                ("started_at", models.DateTimeField(null=True)),
                ("last_attempted_at", models.DateTimeField(null=True)),
                ("finished_at", models.DateTimeField(null=True)),
                ("return_value", models.JSONField(null=True)),
                ("errors", models.JSONField(default=list)),
                ("worker_ids", models.JSONField(default=list)),
            ],
            options={
                "db_table": "duebus_task",
                "indexes": [models.Index(fields=["finished_at"], name="duebus_task_by_finished")],
            },
        ),
    )
