"""Shipping: makes a shipment of every paid order."""
