-- start_at_beginning: the rows of a reader's slots (an array) that are not there, at the beginning of the journal.
-- Those that are there are left out first: ON CONFLICT would wait for whoever moves them.
INSERT INTO positions (reader, slot) SELECT $1, slot FROM unnest($2::smallint[]) AS each (slot)
WHERE NOT EXISTS (SELECT FROM positions p WHERE p.reader = $1 AND p.slot = each.slot) ON CONFLICT DO NOTHING;

-- start_now: the same behind everything that can be seen now
INSERT INTO positions (reader, slot, era, s0)
SELECT $1, slot, (SELECT era FROM eventseam_journal), pg_current_snapshot() FROM unnest($2::smallint[]) AS each (slot)
WHERE NOT EXISTS (SELECT FROM positions p WHERE p.reader = $1 AND p.slot = each.slot) ON CONFLICT DO NOTHING;

-- start_from: the same before the first row of time $3 or later; behind everything if there is none
WITH first AS (
  SELECT era, min(position) - 1 AS done FROM event_outbox WHERE created_at >= $3::text::timestamptz GROUP BY era ORDER BY era LIMIT 1
), start AS (
  SELECT j.era AS now, f.era, f.done, pg_current_snapshot() AS seen FROM eventseam_journal j LEFT JOIN first f ON true)
INSERT INTO positions (reader, slot, era, s0, s1, done, hi)
SELECT $1, slot, coalesce(s.era, s.now), CASE WHEN s.done IS NULL THEN s.seen ELSE '1:1:' END,
  CASE WHEN s.done IS NULL THEN NULL WHEN s.era < s.now THEN '9223372036854775807:9223372036854775807:' ELSE s.seen END,
  s.done, CASE WHEN s.done IS NOT NULL THEN (SELECT max(position) FROM event_outbox o WHERE o.era = s.era) END
FROM start s, unnest($2::smallint[]) AS each (slot)
WHERE NOT EXISTS (SELECT FROM positions p WHERE p.reader = $1 AND p.slot = each.slot) ON CONFLICT DO NOTHING;

-- start_unread: the same before the first row of channels $3 (an array) that one of the journal's own readers has not
-- finished; behind everything that can be seen now if there is none. One statement: both are of one snapshot.
WITH first AS (
  SELECT o.era, o.position - 1 AS done FROM event_outbox o JOIN positions p ON p.slot = o.slot
  WHERE p.reader NOT LIKE '%@bus' AND o.aggregate_type = ANY ($3::text[]) AND NOT eventseam_has_finished(p, o.era, o.x, o.position)
    AND (o.era, o.x) >= (SELECT era, pg_snapshot_xmin(s0) FROM positions WHERE reader NOT LIKE '%@bus' ORDER BY era, pg_snapshot_xmin(s0) LIMIT 1)
  ORDER BY o.era, o.position LIMIT 1
), start AS (
  SELECT j.era AS now, f.era, f.done, pg_current_snapshot() AS seen FROM eventseam_journal j LEFT JOIN first f ON true)
INSERT INTO positions (reader, slot, era, s0, s1, done, hi)
SELECT $1, slot, coalesce(s.era, s.now), CASE WHEN s.done IS NULL THEN s.seen ELSE '1:1:' END,
  CASE WHEN s.done IS NULL THEN NULL WHEN s.era < s.now THEN '9223372036854775807:9223372036854775807:' ELSE s.seen END,
  s.done, CASE WHEN s.done IS NOT NULL THEN (SELECT max(position) FROM event_outbox o WHERE o.era = s.era) END
FROM start s, unnest($2::smallint[]) AS each (slot);
