"""Payments: charges the customer's card for reserved items, once, however often it is asked."""
