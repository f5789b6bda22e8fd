-- How far a reader of a log apart from this journal is, as its transport writes it: JSON. Empty for readers of this one.
ALTER TABLE positions ADD COLUMN cursor text;

-- What goes with a message beside its envelope when it is relayed: a JSON object of texts.
ALTER TABLE event_outbox ADD COLUMN headers text CONSTRAINT headers_have_at_most_8192_bytes CHECK (octet_length(headers) <= 8192);
