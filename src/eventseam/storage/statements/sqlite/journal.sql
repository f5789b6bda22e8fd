-- append: add one message to the journal
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, created_at, message_id, source,
  correlation_id, causation_id, trace, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- tail: a page of the journal after a position, in commit order ($2 is an array of channels, or of `*` for all)
SELECT id, aggregate_type, aggregate_id, event_type, cast(payload AS BLOB), cast(body AS BLOB), cast(created_at AS TEXT),
  cast(message_id AS TEXT), cast(source AS TEXT), cast(correlation_id AS TEXT), cast(causation_id AS TEXT),
  cast(trace AS TEXT), cast(content_type AS TEXT), cast(schema_id AS TEXT), cast(details AS TEXT),
  cast(headers AS TEXT)
FROM event_outbox
WHERE id > $1 AND (aggregate_type IN (SELECT value FROM json_each($2)) OR $2 = '["*"]')
ORDER BY id LIMIT $3;

-- head: the last position of the journal, 0 when it is empty
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0);

-- pending_at_most: rows of any channel that the slowest of some readers (an array) may not have finished
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0) - coalesce(min(done), 0)
FROM positions WHERE reader IN (SELECT value FROM json_each($1));

-- pending_of_channel: rows of a channel that the slowest of some readers (an array) has not finished, up to a bound
SELECT coalesce(max(
  (SELECT count(*) FROM (
    SELECT 1 FROM event_outbox o WHERE o.id > p.done AND o.aggregate_type = $1 
      LIMIT $3 + (SELECT coalesce(max(json_array_length(beyond)), 0) FROM positions)))
  - (SELECT count(*) FROM json_each(p.beyond) b CROSS JOIN event_outbox o WHERE o.id = b.value AND o.aggregate_type = $1)), 0)
FROM positions p WHERE p.reader IN (SELECT value FROM json_each($2));

-- unfinished: the readers (of an array) that have not finished every row of the journal, or that nobody owns
SELECT reader FROM positions WHERE reader IN (SELECT value FROM json_each($1)) AND (owner IS NULL
  OR done < coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0));
