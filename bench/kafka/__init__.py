"""The cases with Kafka and PostgreSQL: beside the same client batched by hand, and what a framework's users write."""
