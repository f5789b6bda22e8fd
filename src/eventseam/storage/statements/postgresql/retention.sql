-- lock_retention: readers are registered and rows are dropped one transaction at a time; the others wait
SELECT pg_advisory_xact_lock(7310584901632427110);

-- may_trim: take that lock, unless another process drops rows now
SELECT pg_try_advisory_xact_lock(7310584901632427110);

-- trim_journal: of the $2 oldest rows drop those older than $1 that every reader has finished. What began before every
-- reader's snapshot did is finished by all of them; only the rest has to be compared.
DELETE FROM event_outbox WHERE position IN (
  SELECT o.position FROM (SELECT position, created_at, era, x, slot FROM event_outbox ORDER BY position LIMIT $2) o
  WHERE o.created_at < $1::text::timestamptz
    AND ((o.era, o.x) < (SELECT era, pg_snapshot_xmin(s0) FROM positions ORDER BY era, pg_snapshot_xmin(s0) LIMIT 1)
      OR NOT EXISTS (SELECT FROM positions p WHERE p.slot = o.slot AND NOT eventseam_has_finished(p, o.era, o.x, o.position))));

-- trim_inbox: drop up to $2 inbox rows that are older than $1
DELETE FROM processed_events WHERE ctid = ANY (ARRAY (
  SELECT ctid FROM processed_events WHERE processed_at < $1::text::timestamptz AND service <> '' LIMIT $2));

-- old_dead: the ids of up to $2 dead letters that are dead since before $1 (Unix seconds)
SELECT id FROM unsettled WHERE state = 'dead' AND since < $1 ORDER BY id LIMIT $2;

-- needed: the readers that have not finished all rows older than $1: how many, the first, the last and the oldest
WITH place AS MATERIALIZED (
  SELECT DISTINCT reader, era, pg_snapshot_xmin(s0) AS x FROM positions
), rest AS MATERIALIZED (
  SELECT a.reader, a.era AS at_era, a.x AS at_x, o.era, o.x, o.slot, o.position, o.created_at
  FROM place a JOIN event_outbox o ON (o.era, o.x) >= (a.era, a.x) WHERE o.created_at < $1::text::timestamptz)
SELECT q.reader, count(*), min(o.position), max(o.position), to_char(min(o.created_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"')
FROM rest o JOIN positions q ON q.reader = o.reader AND q.slot = o.slot AND q.era = o.at_era AND pg_snapshot_xmin(q.s0) = o.at_x
WHERE NOT eventseam_has_finished(q, o.era, o.x, o.position)
GROUP BY q.reader ORDER BY 1;

-- hold_positions: nobody moves a position until this transaction ends
SELECT reader FROM positions ORDER BY reader, slot FOR UPDATE;

-- force_journal: drop up to $2 of the rows older than $1, finished or not; whoever needs one of them is fenced, and finds
-- a gap when it loads its position again
WITH doomed AS MATERIALIZED (
  SELECT position, era, x, slot FROM event_outbox WHERE created_at < $1::text::timestamptz ORDER BY position LIMIT $2
), gaps AS MATERIALIZED (
  SELECT q.reader, q.slot, min(d.position) AS first, max(d.position) AS last FROM positions q JOIN doomed d ON d.slot = q.slot
  WHERE NOT eventseam_has_finished(q, d.era, d.x, d.position) GROUP BY q.reader, q.slot
), marked AS (
  UPDATE positions p SET gap = coalesce(p.gap, clock_timestamp()), rev = p.rev + 1,
    gap_first = least(p.gap_first, g.first), gap_last = greatest(p.gap_last, g.last)
  FROM gaps g WHERE p.reader = g.reader AND p.slot = g.slot)
DELETE FROM event_outbox WHERE position IN (SELECT position FROM doomed);

-- gaps: the readers with a gap: since when, the first and the last position that were dropped unread
SELECT reader, to_char(min(gap) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"'), min(gap_first), max(gap_last) FROM positions WHERE gap IS NOT NULL GROUP BY reader ORDER BY 1;

-- accept_gap: readers (an array) go on behind their gap
UPDATE positions SET gap = NULL, gap_first = NULL, gap_last = NULL, rev = rev + 1 WHERE gap IS NOT NULL AND reader = ANY ($1::text[]);

-- reader_owners: who holds a slot of a reader now ($2 our wall clock, not used here)
SELECT DISTINCT coalesce(CASE WHEN lease_until > clock_timestamp() THEN owner END, '') FROM positions
WHERE reader = $1 AND $2::float8 IS NOT NULL;

-- forget_reader: a reader that will never read again
DELETE FROM positions WHERE reader = $1;

-- forget_members: its processes
DELETE FROM members WHERE reader = $1;

-- mark_gaps: force_journal does
SELECT 1 WHERE $1::text IS NOT NULL AND $2::bigint IS NOT NULL;

-- forget_dropped: what `note_dropped` noted of times before $1
DELETE FROM processed_events WHERE service = '' AND processed_at < $1::text::timestamptz;

-- note_dropped: a row of no service says that the inbox remembers nothing of before $1
INSERT INTO processed_events (event_id, service, handler, processed_at) VALUES ($1, '', '', $1::text::timestamptz) ON CONFLICT DO NOTHING;

-- inbox_dropped: the time before which the inbox remembers nothing; none if nothing was dropped
SELECT to_char(max(processed_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.MS"Z"') FROM processed_events WHERE service = '';
