"""Orders, as views write them, and the stock, as a handler changes it."""

from __future__ import annotations

from django.db import models


class Order(models.Model):
    """An order."""

    id = models.CharField(max_length=50, primary_key=True)
    sku = models.CharField(max_length=50)
    pieces = models.IntegerField()
    state = models.CharField(max_length=20, default="placed")

    def __str__(self) -> str:
        """The order's number."""
        return self.id


class Item(models.Model):
    """How much of something is left."""

    sku = models.CharField(max_length=50, primary_key=True)
    left = models.IntegerField()

    def __str__(self) -> str:
        """What it is."""
        return self.sku
