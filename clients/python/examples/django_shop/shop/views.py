"""The requests of the shop."""

import json

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from duebus.integrations.django import dispatch

from shop.models import Order
from shop.tasks import send_receipt


@csrf_exempt
def orders(request: HttpRequest) -> JsonResponse:
    """GET lists the orders, POST places one."""
    if request.method == "GET":
        return JsonResponse({"orders": list(Order.objects.values("id", "item", "receipt_sent"))})
    with transaction.atomic():  # the order, its event and its task: all of them or none
        order = Order.objects.create(item=json.loads(request.body)["item"])
        dispatch("order.placed", {"id": order.id, "item": order.item}, key=f"order-{order.id}")
        receipt = send_receipt.enqueue(order.id)
    return JsonResponse({"id": order.id, "receipt": receipt.id}, status=201)


def receipt(_: HttpRequest, result_id: str) -> JsonResponse:
    """The state of a task."""
    return JsonResponse({"status": send_receipt.get_result(result_id).status})
