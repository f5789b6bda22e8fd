-- append: add messages to the journal, in order. What jsonb cannot hold (an escaped NUL) is kept as its bytes.
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, details)
SELECT c, k, w, CASE WHEN strpos(p, '\u0000') = 0 THEN p::jsonb END, CASE WHEN strpos(p, '\u0000') > 0 THEN convert_to(p, 'UTF8') END,
  t::timestamptz, m::uuid, s, r, u, h, d
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::text[]) AS each (c, k, w, p, t, m, s, r, u, h, d);

-- append_one: add one message. The same by plain values, which cost the server a third of that.
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, details)
VALUES ($1, $2, $3, CASE WHEN strpos($4::text, '\u0000') = 0 THEN $4::text::jsonb END,
  CASE WHEN strpos($4::text, '\u0000') > 0 THEN convert_to($4::text, 'UTF8') END, $5::text::timestamptz, $6::text::uuid, $7, $8, $9, $10, $11);

-- poll: what became visible after a snapshot ($1 its running transactions, $2 its xmax), in slots $3 of channels $4 (`*` is all).
-- The first row holds the snapshot of this very statement and the newest position given to anybody. A time that no
-- datetime can hold comes as NULL.
SELECT 0::bigint AS position, pg_current_snapshot()::text AS channel, NULL AS key, NULL AS type, NULL AS payload, NULL::bytea AS body,
  NULL::timestamptz AS created_at, NULL AS message_id, NULL AS source, NULL AS correlation_id, NULL AS causation_id, NULL AS trace,
  NULL AS content_type, NULL AS schema_id, NULL AS details, NULL AS headers, 0::smallint AS slot,
  (SELECT last_value FROM event_outbox_position_seq) AS head
UNION ALL
SELECT position, aggregate_type, aggregate_id, event_type, payload::text, body,
  CASE WHEN created_at >= '0001-01-01 00:00Z' AND created_at < '10000-01-01 00:00Z' THEN created_at END, message_id::text, source, correlation_id,
  causation_id, trace, content_type, schema_id, details, headers, slot, NULL
FROM (
  (SELECT o.* FROM event_outbox o WHERE o.era = $6::smallint AND o.x = ANY ($1::text[]::xid8[])
     AND o.slot = ANY ($3::smallint[]) AND (o.aggregate_type = ANY ($4::text[]) OR $4::text[] = '{*}') LIMIT $5)
  UNION ALL
  (SELECT o.* FROM event_outbox o WHERE o.era = $6::smallint AND o.x >= $2::text::xid8
     AND o.slot = ANY ($3::smallint[]) AND (o.aggregate_type = ANY ($4::text[]) OR $4::text[] = '{*}') ORDER BY o.x, o.position LIMIT $5)) found;

-- open_difference: the bounds of a difference that does not fit one page, and its end: this statement's snapshot
SELECT pg_current_snapshot()::text, min(a) - 1, max(b) FROM (
  SELECT min(position) a, max(position) b FROM event_outbox WHERE era = $3::smallint AND x = ANY ($1::text[]::xid8[])
  UNION ALL SELECT min(position), max(position) FROM event_outbox WHERE era = $3::smallint AND x >= $2::text::xid8) d;

-- page: the next rows of a difference ($1 s0, $2 s1, $3 done, $4 hi)
SELECT o.position, o.aggregate_type, o.aggregate_id, o.event_type, o.payload::text, o.body,
  CASE WHEN o.created_at >= '0001-01-01 00:00Z' AND o.created_at < '10000-01-01 00:00Z' THEN o.created_at END, o.message_id::text, o.source,
  o.correlation_id, o.causation_id, o.trace, o.content_type, o.schema_id, o.details, o.headers, o.slot
FROM event_outbox o
WHERE o.era = $8::smallint AND o.position > $3 AND o.position <= $4
  AND pg_visible_in_snapshot(o.x, (SELECT $2::text::pg_snapshot)) AND NOT pg_visible_in_snapshot(o.x, (SELECT $1::text::pg_snapshot))
  AND o.slot = ANY ($5::smallint[]) AND (o.aggregate_type = ANY ($6::text[]) OR $6::text[] = '{*}')
ORDER BY o.position LIMIT $7;

-- era_end: the last position of an era that is over
SELECT coalesce(max(position), 0) FROM event_outbox WHERE era = $1::smallint;

-- journal_state: the era and the cluster of this journal, and the cluster that we are connected to
SELECT era, cluster, (SELECT system_identifier::text FROM pg_control_system()) FROM eventseam_journal;

-- all_positions: every reader's rows
SELECT reader, slot, owner FROM positions ORDER BY reader, slot;

-- unfinished: the readers (of an array) that have not finished every row of the journal, or that nobody owns
SELECT DISTINCT p.reader FROM positions p WHERE p.reader = ANY ($1::text[]) AND (p.owner IS NULL OR EXISTS (
  SELECT FROM event_outbox o WHERE o.slot = p.slot AND o.era > p.era) OR EXISTS (
  SELECT FROM event_outbox o WHERE o.slot = p.slot AND o.era = p.era AND o.x >= pg_snapshot_xmin(p.s0)
    AND NOT eventseam_has_finished(p, o.era, o.x, o.position)));

-- pending_of_channel: rows of a channel that the slowest of some readers (an array) has not finished, up to a bound
SELECT coalesce(max(n), 0) FROM (
  SELECT count(*) AS n FROM (
    SELECT q.reader FROM positions q JOIN event_outbox o ON o.slot = q.slot
    WHERE q.reader = ANY ($2::text[]) AND o.aggregate_type = $1
      AND (o.era, o.x) >= (SELECT era, pg_snapshot_xmin(s0) FROM positions WHERE reader = ANY ($2::text[]) ORDER BY era, pg_snapshot_xmin(s0) LIMIT 1)
      AND NOT eventseam_has_finished(q, o.era, o.x, o.position)
    LIMIT $3::bigint * cardinality($2::text[])) rows GROUP BY reader) each;

-- pending_at_most: a bound on the rows that the slowest of some readers may not have finished; unknown here, so no bound
SELECT 9223372036854775807 WHERE $1::text[] IS NOT NULL;
