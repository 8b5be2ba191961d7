"""The tables: those of the outbox, which are the same as on SQLAlchemy, and that of tasks."""

from django.db import models

__all__ = ["OutboxRow", "OutboxSlot", "TaskRun"]


class OutboxRow(models.Model):
    """An event that is not sent yet; `duebus.integrations.outbox.new_row` tells its columns."""

    event_id = models.CharField(max_length=255)
    topic = models.CharField(max_length=255)
    slot = models.SmallIntegerField()
    event = models.BinaryField()
    created_at = models.DateTimeField()
    error = models.TextField(null=True)

    class Meta:
        """The table."""

        db_table = "duebus_outbox"
        indexes = (models.Index(fields=("slot", "id"), name="duebus_outbox_by_slot"),)


class OutboxSlot(models.Model):
    """A number that a relay locks."""

    slot = models.SmallIntegerField(primary_key=True)

    class Meta:
        """The table."""

        db_table = "duebus_outbox_slot"


class TaskRun(models.Model):
    """The state and the result of a task, if its backend keeps results."""

    id = models.CharField(max_length=255, primary_key=True)
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
