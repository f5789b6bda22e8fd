-- How far a reader of a log apart from this journal is, as its transport writes it: JSON. Empty for readers of this one.
ALTER TABLE positions ADD COLUMN cursor TEXT;

-- What goes with a message beside its envelope when it is relayed: a JSON object of texts.
ALTER TABLE event_outbox ADD COLUMN headers TEXT CONSTRAINT headers_have_at_most_8192_bytes CHECK (length(CAST(headers AS BLOB)) <= 8192);
