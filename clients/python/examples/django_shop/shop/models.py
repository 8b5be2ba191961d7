"""What the shop stores."""

from django.db import models


class Order(models.Model):
    """An order of a customer."""

    item = models.CharField(max_length=100)
    receipt_sent = models.BooleanField(default=False)
