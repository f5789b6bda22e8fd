"""A shop with Django: views publish in `transaction.atomic()`, handlers use the models."""
