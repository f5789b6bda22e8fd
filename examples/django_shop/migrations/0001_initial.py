"""The first tables."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db import migrations, models


class Migration(migrations.Migration):
    """Items and orders."""

    initial = True
    dependencies: ClassVar[list[tuple[str, str]]] = []
    operations: ClassVar[list[Any]] = [
        migrations.CreateModel(
            name="Item",
            fields=[
                ("sku", models.CharField(max_length=50, primary_key=True, serialize=False)),
                ("left", models.IntegerField()),
            ],
        ),
        migrations.CreateModel(
            name="Order",
            fields=[
                ("id", models.CharField(max_length=50, primary_key=True, serialize=False)),
                ("sku", models.CharField(max_length=50)),
                ("pieces", models.IntegerField()),
                ("state", models.CharField(default="placed", max_length=20)),
            ],
        ),
    ]
