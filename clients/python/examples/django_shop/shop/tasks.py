"""What the shop does beside its requests, in `manage.py duebus_worker`."""

try:
    from django.tasks import task
except ModuleNotFoundError:  # before Django 6.0
    from django_tasks import task

from shop.models import Order


@task
def send_receipt(order_id: int) -> str:
    """Would send a mail. It may run twice, and is the same then."""
    Order.objects.filter(id=order_id).update(receipt_sent=True)
    return f"receipt for order {order_id}"
