-- When a reader last moved; when messages were dropped before it had finished them, and which.
ALTER TABLE positions ADD COLUMN moved_at TEXT;
ALTER TABLE positions ADD COLUMN gap TEXT;
ALTER TABLE positions ADD COLUMN gap_first INTEGER;
ALTER TABLE positions ADD COLUMN gap_last INTEGER;

-- The journal as the first seven columns have it, published_at read from the readers: empty until each of them has
-- finished the row, then no earlier than that was.
CREATE VIEW eventseam_outbox AS
SELECT o.id, o.aggregate_type, o.aggregate_id, o.event_type, o.payload, o.created_at, coalesce(o.published_at, (
  SELECT CASE WHEN min(p.done >= o.id OR EXISTS (SELECT 1 FROM json_each(p.beyond) b WHERE b.value = o.id))
    THEN max(coalesce(max(p.moved_at), o.created_at), o.created_at) END
  FROM positions p)) AS published_at
FROM event_outbox o;
