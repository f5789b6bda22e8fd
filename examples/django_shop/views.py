"""The web side: an order and its event are one transaction of Django's."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from django.db import connection, transaction
from django.http import JsonResponse
from django.shortcuts import get_object_or_404
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from examples.django_shop.events import OrderPlaced, orders
from examples.django_shop.models import Order

if TYPE_CHECKING:
    from django.http import HttpRequest


@csrf_exempt
@require_POST
def place(request: HttpRequest) -> JsonResponse:
    """Take an order: `{"id": …, "sku": …, "pieces": …}`."""
    wish = json.loads(request.body)
    with transaction.atomic():
        order = Order.objects.create(id=wish["id"], sku=wish["sku"], pieces=wish["pieces"])
        message_id = orders.publish(connection, OrderPlaced(order.id, order.sku, order.pieces))
    return JsonResponse({"message_id": message_id}, status=201)


@require_GET
def show(_request: HttpRequest, order_id: str) -> JsonResponse:
    """How far an order is."""
    return JsonResponse({"id": order_id, "state": get_object_or_404(Order, id=order_id).state})
