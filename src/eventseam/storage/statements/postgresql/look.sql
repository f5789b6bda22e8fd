-- lag: each reader's slots: the position up to which everything is finished, rows that are not, the oldest, and the owner.
-- Slots of a reader that stand at the same place are looked at together.
WITH place AS MATERIALIZED (
  SELECT DISTINCT reader, era, pg_snapshot_xmin(s0) AS x FROM positions
), rest AS MATERIALIZED (
  SELECT a.reader, a.era AS at_era, a.x AS at_x, o.era, o.x, o.slot, o.position, o.created_at
  FROM place a JOIN event_outbox o ON (o.era, o.x) >= (a.era, a.x)
), behind AS (
  SELECT q.reader, q.slot, count(*) AS n, min(o.position) AS first, min(o.created_at) AS oldest
  FROM rest o JOIN positions q ON q.reader = o.reader AND q.slot = o.slot AND q.era = o.at_era AND pg_snapshot_xmin(q.s0) = o.at_x
  WHERE NOT eventseam_has_finished(q, o.era, o.x, o.position)
  GROUP BY q.reader, q.slot)
SELECT p.reader, p.slot, coalesce(b.first - 1, (SELECT last_value FROM event_outbox_position_seq)), p.owner, coalesce(b.n, 0),
  to_char(b.oldest AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
FROM positions p LEFT JOIN behind b ON b.reader = p.reader AND b.slot = p.slot
ORDER BY p.reader, p.slot;

-- list_journal: the newest rows first, of one channel and key where given
SELECT o.position, o.aggregate_type, o.aggregate_id, o.event_type, to_char(o.created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'),
  o.message_id::text, o.source, o.correlation_id, o.causation_id, coalesce(octet_length(o.body), octet_length(o.payload::text)) AS size,
  (SELECT count(*) FROM positions p WHERE p.slot = o.slot AND NOT eventseam_has_finished(p, o.era, o.x, o.position)) AS behind
FROM event_outbox o
WHERE ($1::text IS NULL OR aggregate_type = $1) AND ($2::text IS NULL OR aggregate_id = $2)
  AND ($3::integer = 0 OR EXISTS (SELECT FROM positions p WHERE p.slot = o.slot AND NOT eventseam_has_finished(p, o.era, o.x, o.position)))
ORDER BY o.position DESC LIMIT $4;

-- last_position: the newest position that can be seen, 0 when the journal is empty
SELECT coalesce(max(position), 0) FROM event_outbox;

-- find_messages: which messages of an array of ids are among the $3 newest rows before position $2; then where those
-- rows begin, and how old they are
WITH page AS MATERIALIZED (
  SELECT position, message_id::text AS id, aggregate_type, created_at FROM event_outbox WHERE position < $2 ORDER BY position DESC LIMIT $3)
SELECT position, id, aggregate_type, NULL AS oldest FROM page WHERE id = ANY ($1::text[])
UNION ALL
SELECT min(position), NULL, NULL, to_char(min(created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') FROM page;

-- unfinished_rows: those of some positions (an array) that a reader has not finished
SELECT o.position FROM event_outbox o JOIN positions p ON p.slot = o.slot AND p.reader = $1
WHERE o.position = ANY ($2::bigint[]) AND NOT eventseam_has_finished(p, o.era, o.x, o.position);

-- types_at: the types of rows at some positions (an array)
SELECT position, event_type FROM event_outbox WHERE position = ANY ($1::bigint[]);

-- taken_by: how many handlers of a service have taken messages (an array of ids)
SELECT event_id, count(*) FROM processed_events WHERE service = $1 AND event_id = ANY ($2::text[]) GROUP BY event_id;

-- unsettled_messages: what a service has unsettled of some messages (an array of ids)
SELECT message_id, handler, state FROM unsettled WHERE service = $1 AND message_id = ANY ($2::text[]);

-- republish_rows: rows between two positions and two times, of one type, key and channel where given
SELECT position, message_id::text, event_type, to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
FROM event_outbox
WHERE position > $1 AND position <= $2 AND created_at >= $3::text::timestamptz AND created_at < $4::text::timestamptz
  AND ($5::text IS NULL OR event_type = $5) AND ($6::text IS NULL OR aggregate_id = $6) AND ($7::text IS NULL OR aggregate_type = $7)
ORDER BY position LIMIT $8;

-- copy_rows: append rows at some positions (an array) once more, as they are
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, content_type, schema_id, details, headers)
SELECT aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, content_type, schema_id, details, headers
FROM event_outbox WHERE position = ANY ($1::bigint[]) ORDER BY position;
