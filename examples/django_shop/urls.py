"""Where the views are."""

from __future__ import annotations

from django.urls import path

from examples.django_shop.views import place, show

urlpatterns = [path("orders", place), path("orders/<order_id>", show)]
