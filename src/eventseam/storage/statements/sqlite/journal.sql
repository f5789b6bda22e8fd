-- append: add one message to the journal
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, created_at, message_id, source,
  correlation_id, causation_id, trace, details)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11);

-- tail: a page of the journal after a position, in commit order ($2 is an array of channels)
SELECT id, aggregate_type, aggregate_id, event_type, cast(payload AS BLOB), cast(body AS BLOB), cast(created_at AS TEXT),
  cast(message_id AS TEXT), cast(source AS TEXT), cast(correlation_id AS TEXT), cast(causation_id AS TEXT),
  cast(trace AS TEXT), cast(content_type AS TEXT), cast(schema_id AS TEXT), cast(details AS TEXT)
FROM event_outbox
WHERE id > $1 AND aggregate_type IN (SELECT value FROM json_each($2))
ORDER BY id LIMIT $3;

-- head: the last position of the journal, 0 when it is empty
SELECT coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0);

-- list_journal: the newest rows first, of one channel and key where given
SELECT id, aggregate_type, aggregate_id, event_type, created_at, message_id, source, correlation_id, causation_id,
  length(payload) AS size, (SELECT count(*) FROM positions WHERE done < event_outbox.id) AS behind
FROM event_outbox
WHERE ($1 IS NULL OR aggregate_type = $1) AND ($2 IS NULL OR aggregate_id = $2)
  AND ($3 = 0 OR id > (SELECT coalesce(min(done), 0) FROM positions))
ORDER BY id DESC LIMIT $4;

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

-- lag: each reader's slots: rows after its position, the oldest, and the owner
SELECT p.reader, p.slot, p.done, p.owner, count(o.id), cast(min(o.created_at) AS TEXT)
FROM positions p LEFT JOIN event_outbox o ON o.id > p.done GROUP BY p.reader, p.slot ORDER BY p.reader, p.slot;

-- trim_journal: of the $2 oldest rows drop those older than $1 that every reader has finished
DELETE FROM event_outbox WHERE id IN (
  SELECT id FROM event_outbox WHERE id <= (SELECT coalesce(min(done), 9223372036854775807) FROM positions) AND created_at < $1
  ORDER BY id LIMIT $2);

-- trim_inbox: of the $2 oldest inbox rows drop those older than $1
DELETE FROM processed_events WHERE rowid IN (
  SELECT rowid FROM (SELECT rowid, processed_at FROM processed_events ORDER BY rowid LIMIT $2) WHERE processed_at < $1);
