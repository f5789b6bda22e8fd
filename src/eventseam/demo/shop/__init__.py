"""The shop: six services, each with its own tables, knowing of each other nothing but contracts.

They are choreographed: nobody conducts. An order goes PlaceOrder -> OrderPlaced -> ItemsReserved | ItemsUnavailable ->
PaymentSucceeded | PaymentFailed (-> ItemsReleased) -> ShipmentCreated -> OrderConfirmed | OrderRejected.
Each package has `contracts.py` (what it says to others), `service.py` (its tables and handlers) and, where it decides
something, `rules.py` (the decision alone, which the synchronous chain reuses).
"""
