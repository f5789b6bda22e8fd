-- lock_retention: one transaction writes at a time
SELECT 1;

-- may_trim: one transaction writes at a time
SELECT 1;

-- trim_journal: of the $2 oldest rows drop those older than $1 that every reader has finished
DELETE FROM event_outbox WHERE id IN (
  SELECT id FROM event_outbox WHERE id <= (SELECT coalesce(min(done), 9223372036854775807) FROM positions) AND created_at < $1
  ORDER BY id LIMIT $2);

-- trim_inbox: of the $2 oldest inbox rows drop those older than $1
DELETE FROM processed_events WHERE rowid IN (
  SELECT rowid FROM (SELECT rowid, processed_at FROM processed_events WHERE service <> '' ORDER BY rowid LIMIT $2) WHERE processed_at < $1);

-- old_dead: the ids of up to $2 dead letters that are dead since before $1 (Unix seconds)
SELECT id FROM unsettled WHERE state = 'dead' AND since < $1 ORDER BY id LIMIT $2;

-- needed: the readers that have not finished all rows older than $1: how many, the first, the last and the oldest
SELECT p.reader, count(*), min(o.id), max(o.id), cast(min(o.created_at) AS TEXT) FROM positions p JOIN event_outbox o ON o.id > p.done
WHERE o.created_at < $1 AND NOT EXISTS (SELECT 1 FROM json_each(p.beyond) b WHERE b.value = o.id) GROUP BY p.reader ORDER BY 1;

-- hold_positions: one transaction writes at a time
SELECT 1;

-- mark_gaps: whoever needs one of the $2 first rows older than $1 is fenced, and finds a gap when it loads its position
UPDATE positions SET gap = coalesce(gap, strftime('%Y-%m-%dT%H:%M:%fZ', 'now')), rev = rev + 1,
  gap_first = min(coalesce(gap_first, g.first), g.first), gap_last = max(coalesce(gap_last, g.last), g.last)
FROM (
  SELECT p.reader AS r, p.slot AS s, min(d.id) AS first, max(d.id) AS last
  FROM positions p JOIN (SELECT id FROM event_outbox WHERE created_at < $1 ORDER BY id LIMIT $2) d ON d.id > p.done
  WHERE NOT EXISTS (SELECT 1 FROM json_each(p.beyond) b WHERE b.value = d.id) GROUP BY p.reader, p.slot) g
WHERE reader = g.r AND slot = g.s;

-- force_journal: drop up to $2 of the rows older than $1, finished or not: see mark_gaps
DELETE FROM event_outbox WHERE id IN (SELECT id FROM event_outbox WHERE created_at < $1 ORDER BY id LIMIT $2);

-- gaps: the readers with a gap: since when, the first and the last position that were dropped unread
SELECT reader, min(gap), min(gap_first), max(gap_last) FROM positions WHERE gap IS NOT NULL GROUP BY reader ORDER BY 1;

-- accept_gap: readers (an array) go on behind their gap
UPDATE positions SET gap = NULL, gap_first = NULL, gap_last = NULL, rev = rev + 1
WHERE gap IS NOT NULL AND reader IN (SELECT value FROM json_each($1));

-- reader_owners: who holds a slot of a reader now ($2)
SELECT DISTINCT coalesce(CASE WHEN lease_until > $2 THEN owner END, '') FROM positions WHERE reader = $1;

-- forget_reader: a reader that will never read again
DELETE FROM positions WHERE reader = $1;

-- forget_members: its processes
DELETE FROM members WHERE reader = $1;

-- forget_dropped: what `note_dropped` noted of times before $1
DELETE FROM processed_events WHERE service = '' AND processed_at < $1;

-- note_dropped: a row of no service says that the inbox remembers nothing of before $1
INSERT INTO processed_events (event_id, service, handler, processed_at) VALUES ($1, '', '', $1) ON CONFLICT DO NOTHING;

-- inbox_dropped: the time before which the inbox remembers nothing; none if nothing was dropped
SELECT max(processed_at) FROM processed_events WHERE service = '';
