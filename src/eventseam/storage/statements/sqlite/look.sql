-- lag: each reader's slots: its position, rows after it, the oldest, and the owner
SELECT p.reader, p.slot, p.done, p.owner, count(o.id), cast(min(o.created_at) AS TEXT)
FROM positions p LEFT JOIN event_outbox o ON o.id > p.done GROUP BY p.reader, p.slot ORDER BY p.reader, p.slot;

-- list_journal: the newest rows first, of one channel and key where given
SELECT id, aggregate_type, aggregate_id, event_type, created_at, message_id, source, correlation_id, causation_id,
  length(coalesce(body, payload)) AS size, (SELECT count(*) FROM positions WHERE done < event_outbox.id) AS behind
FROM event_outbox
WHERE ($1 IS NULL OR aggregate_type = $1) AND ($2 IS NULL OR aggregate_id = $2)
  AND ($3 = 0 OR id > (SELECT coalesce(min(done), 0) FROM positions))
ORDER BY id DESC LIMIT $4;

-- has_migrations: whether the table of applied migrations is there
SELECT EXISTS (SELECT 1 FROM sqlite_master WHERE name = 'eventseam_migrations');

-- last_position: the newest position, 0 when the journal is empty
SELECT coalesce(max(id), 0) FROM event_outbox;

-- find_messages: which messages of an array of ids are among the $3 newest rows before position $2; then where those
-- rows begin, and how old they are
WITH page AS MATERIALIZED (
  SELECT id, cast(message_id AS TEXT) AS message_id, aggregate_type, created_at FROM event_outbox WHERE id < $2 ORDER BY id DESC LIMIT $3)
SELECT id, message_id, aggregate_type, NULL FROM page WHERE message_id IN (SELECT value FROM json_each($1))
UNION ALL SELECT min(id), NULL, NULL, cast(min(created_at) AS TEXT) FROM page;

-- unfinished_rows: those of some positions (an array) that a reader has not finished
SELECT o.id FROM event_outbox o JOIN positions p ON p.reader = $1
WHERE o.id IN (SELECT value FROM json_each($2)) AND o.id > p.done
  AND NOT EXISTS (SELECT 1 FROM json_each(p.beyond) b WHERE b.value = o.id);

-- types_at: the types of rows at some positions (an array)
SELECT id, event_type FROM event_outbox WHERE id IN (SELECT value FROM json_each($1));

-- taken_by: how many handlers of a service have taken messages (an array of ids)
SELECT event_id, count(*) FROM processed_events WHERE service = $1 AND event_id IN (SELECT value FROM json_each($2)) GROUP BY event_id;

-- unsettled_messages: what a service has unsettled of some messages (an array of ids)
SELECT message_id, handler, state FROM unsettled WHERE service = $1 AND message_id IN (SELECT value FROM json_each($2));

-- republish_rows: rows between two positions and two times, of one type, key and channel where given
SELECT id, cast(message_id AS TEXT), event_type, cast(created_at AS TEXT) FROM event_outbox
WHERE id > $1 AND id <= $2 AND created_at >= $3 AND created_at < $4
  AND ($5 IS NULL OR event_type = $5) AND ($6 IS NULL OR aggregate_id = $6) AND ($7 IS NULL OR aggregate_type = $7)
ORDER BY id LIMIT $8;

-- copy_rows: append rows at some positions (an array) once more, as they are
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, content_type, schema_id, details, headers)
SELECT aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, content_type, schema_id, details, headers
FROM event_outbox WHERE id IN (SELECT value FROM json_each($1)) ORDER BY id;
