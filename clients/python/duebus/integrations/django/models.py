"""The tables: those of the outbox and the inbox, which are the same as on SQLAlchemy, and that of tasks."""

from django.db import models

from duebus.integrations.django.fields import ExactField, Utf8CharField, Utf8TextField

__all__ = ["InboxKey", "InboxNote", "OutboxRow", "OutboxSlot", "TaskRun"]


class OutboxRow(models.Model):
    """An event that is not sent yet; `duebus.integrations.outbox.new_row` tells its columns."""

    event_id = Utf8CharField(max_length=255)
    topic = Utf8CharField(max_length=255)
    slot = models.SmallIntegerField()
    event = models.BinaryField()
    created_at = models.DateTimeField()
    error = Utf8TextField(null=True)

    class Meta:
        """The table."""

        db_table = "duebus_outbox"
        indexes = (models.Index(fields=("topic", "slot", "id"), name="duebus_outbox_by_topic"),)


class OutboxSlot(models.Model):
    """A number that a relay locks."""

    slot = models.SmallIntegerField(primary_key=True)

    class Meta:
        """The table."""

        db_table = "duebus_outbox_slot"


class InboxNote(models.Model):
    """An event that was handled."""

    pk = models.CompositePrimaryKey("topic", "consumer_group", "event_id")
    topic = ExactField(max_length=255)
    consumer_group = ExactField(max_length=255)
    event_id = ExactField(max_length=255)
    handled_at = models.DateTimeField()

    class Meta:
        """The table."""

        db_table = "duebus_inbox"
        indexes = (models.Index(fields=("handled_at",), name="duebus_inbox_by_time"),)


class InboxKey(models.Model):
    """The last lease of a key that has committed."""

    pk = models.CompositePrimaryKey("topic", "consumer_group", "event_key")
    topic = ExactField(max_length=255)
    consumer_group = ExactField(max_length=255)
    event_key = ExactField(max_length=255)
    fencing_token = models.BigIntegerField()
    handled_at = models.DateTimeField()

    class Meta:
        """The table."""

        db_table = "duebus_inbox_key"
        indexes = (models.Index(fields=("handled_at",), name="duebus_inbox_key_by_time"),)


class TaskRun(models.Model):
    """The state and the result of a task, if its backend keeps results."""

    id = ExactField(max_length=255, primary_key=True)
    backend = models.CharField(max_length=255)
    task = models.CharField(max_length=255)
    queue_name = models.CharField(max_length=255)
    priority = models.SmallIntegerField()
    run_after = models.DateTimeField(null=True)
    arguments = models.JSONField()
    status = models.CharField(max_length=16)
    enqueued_at = models.DateTimeField()
    started_at = models.DateTimeField(null=True)
    last_attempted_at = models.DateTimeField(null=True)
    finished_at = models.DateTimeField(null=True)
    return_value = models.JSONField(null=True)
    errors = models.JSONField(default=list)
    worker_ids = models.JSONField(default=list)

    class Meta:
        """The table."""

        db_table = "duebus_task"
        indexes = (models.Index(fields=("finished_at",), name="duebus_task_by_finished"),)
