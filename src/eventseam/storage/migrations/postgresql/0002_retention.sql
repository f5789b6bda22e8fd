-- Where a reader's gap is: the first and the last position that were dropped before it had finished them.
ALTER TABLE positions ADD COLUMN gap_first bigint, ADD COLUMN gap_last bigint;

-- New rows of the inbox are found by their age without reading all that no vacuum has seen.
ALTER INDEX processed_events_age SET (autosummarize = on);

-- The journal as the first seven columns have it, published_at read from the readers: empty until each of them has
-- finished the row, then no earlier than that was.
CREATE VIEW eventseam_outbox AS
SELECT o.id, o.aggregate_type, o.aggregate_id, o.event_type, o.payload, o.created_at, coalesce(o.published_at, (
  SELECT CASE WHEN bool_and(eventseam_has_finished(p, o.era, o.x, o.position)) THEN greatest(max(p.moved_at), o.created_at) END
  FROM positions p WHERE p.slot = o.slot)) AS published_at
FROM event_outbox o;
