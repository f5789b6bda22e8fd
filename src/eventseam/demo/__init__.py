"""The shop behind `eventseam demo`: six services that live through an outage, beside a chain of calls that does not."""
