"""The index of the outbox begins with the topic, so that rows of a topic that is full are not read."""

from django.db import migrations, models


class Migration(migrations.Migration):
    """The second one."""

    dependencies = (("duebus", "0001_initial"),)
    operations = (
        migrations.AddIndex("OutboxRow", models.Index(fields=["topic", "slot", "id"], name="duebus_outbox_by_topic")),
        migrations.RemoveIndex("OutboxRow", "duebus_outbox_by_slot"),
    )
