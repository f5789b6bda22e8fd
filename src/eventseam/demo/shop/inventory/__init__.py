"""Inventory: reserves the items of an order, and gives them back where the payment fails."""
