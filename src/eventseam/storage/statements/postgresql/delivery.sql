-- fence: move positions whose rows have the revisions that their owner knows; fewer rows than asked mean another owner,
-- or a crash of the server since the `life` in which it began to read: what it has read may be gone, its number given out
-- again. $1 is JSON: [[reader, slot, rev, beyond, era, s0, s1, done, hi, life, cursor], …]. $2: whether to let one apply of a
-- service run at a time, so that two of them cannot wait for each other's rows.
WITH fences AS MATERIALIZED (
  SELECT f->>0 AS reader, (f->>1)::smallint AS slot, (f->>2)::bigint AS rev, f->3 AS beyond, (f->>4)::smallint AS era,
    (f->>5)::pg_snapshot AS s0, (f->>6)::pg_snapshot AS s1, (f->>7)::bigint AS done, (f->>8)::bigint AS hi, f->>9 AS life, f->>10 AS cursor
  FROM jsonb_array_elements($1::text::jsonb) f
), gate AS MATERIALIZED (
  SELECT CASE WHEN $2::boolean THEN pg_advisory_xact_lock(key) END
  FROM (SELECT DISTINCT ('x' || left(md5('eventseam ' || reader), 16))::bit(64)::bigint AS key FROM fences ORDER BY 1) k
)
UPDATE positions p
SET era = f.era, s0 = f.s0, s1 = f.s1, done = f.done, hi = f.hi, beyond = f.beyond, rev = p.rev + 1, moved_at = clock_timestamp(),
  cursor = coalesce(f.cursor, p.cursor)
FROM fences f
WHERE p.reader = f.reader AND p.slot = f.slot AND p.rev = f.rev AND (SELECT count(*) FROM gate) > 0
  AND f.life = (SELECT pg_postmaster_start_time()::text || ' ' || pg_stat_get_bgwriter_stat_reset_time()::text);

-- life: changes whenever the server was started or has crashed: only a crash resets these statistics (or who asks for it)
SELECT pg_postmaster_start_time()::text || ' ' || pg_stat_get_bgwriter_stat_reset_time()::text;

-- note: `fence` for a relay ($1), in that life of the server in which it has read ($2). The commit waits for the disk,
-- and with it everything that was committed before.
UPDATE positions p
SET era = (f->>4)::smallint, s0 = (f->>5)::pg_snapshot, s1 = (f->>6)::pg_snapshot, done = (f->>7)::bigint, hi = (f->>8)::bigint,
  beyond = f->3, rev = p.rev + 1, moved_at = clock_timestamp()
FROM jsonb_array_elements($1::text::jsonb) f
WHERE p.reader = f->>0 AND p.slot = (f->>1)::smallint AND p.rev = (f->>2)::bigint
  AND $2 = (SELECT pg_postmaster_start_time()::text || ' ' || pg_stat_get_bgwriter_stat_reset_time()::text)
  AND (SELECT set_config('synchronous_commit', 'on', true)) = 'on';

-- revisions: the revisions of some readers' rows (an array)
SELECT reader, slot, rev FROM positions WHERE reader = ANY ($1::text[]);

-- claim_inbox: mark messages (an array of ids) as taken by a handler; returns those that were not yet
INSERT INTO processed_events (event_id, service, handler, processed_at)
SELECT id, $2, $3, $4::text::timestamptz FROM unnest($1::text[]) AS each (id)
ON CONFLICT DO NOTHING RETURNING event_id;

-- new_position: make the row of a reader's slot if there is none, at the beginning of the journal
INSERT INTO positions (reader, slot) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- join: be a member of a reader's owners, or stay one ($3 lease in seconds; $4 our wall clock, not used here)
INSERT INTO members (reader, owner, until) SELECT $1, $2, clock_timestamp() + $3::float8 * interval '1 second' WHERE $4::float8 IS NOT NULL
ON CONFLICT (reader, owner) DO UPDATE SET until = excluded.until;

-- leave: be a member no more
DELETE FROM members WHERE reader = $1 AND owner = $2;

-- members: who shares a reader's slots ($2 our wall clock, not used here)
SELECT owner FROM members WHERE reader = $1 AND until > clock_timestamp() AND $2::float8 IS NOT NULL ORDER BY owner;

-- renew: stay the owner of what is ours; a row that one of our own applies holds need not be renewed now
WITH mine AS MATERIALIZED (SELECT slot FROM positions WHERE reader = $1 AND owner = $2 ORDER BY slot FOR UPDATE SKIP LOCKED)
UPDATE positions p SET lease_until = clock_timestamp() + $3::float8 * interval '1 second' FROM mine
WHERE p.reader = $1 AND p.slot = mine.slot AND $4::float8 IS NOT NULL;

-- held: who has each slot of a reader
SELECT slot, owner FROM positions WHERE reader = $1 ORDER BY slot;

-- claim: become the owner of up to $5 slots that nobody holds, or that owners hold who are gone (an array).
-- Never of one that we have: its lease may be over, but what runs there would pass the fence beside a new beginning.
WITH free AS MATERIALIZED (
  SELECT slot FROM positions WHERE reader = $1 AND (owner IS NULL OR (lease_until < clock_timestamp() AND owner <> $2) OR owner = ANY ($6::text[]))
  ORDER BY slot LIMIT $5 FOR UPDATE SKIP LOCKED)
UPDATE positions p SET owner = $2, lease_until = clock_timestamp() + $3::float8 * interval '1 second', rev = p.rev + 1 FROM free
WHERE p.reader = $1 AND p.slot = free.slot AND $4::float8 IS NOT NULL
RETURNING p.slot, p.rev, p.beyond::text,
  p.gap::text || coalesce(' (positions ' || p.gap_first || ' to ' || p.gap_last || ')', ''), p.era, p.s0::text, p.s1::text, p.done, p.hi;

-- claim_these: `claim` for those slots only that a broker has shared out to us ($5, an array)
WITH free AS MATERIALIZED (
  SELECT slot FROM positions WHERE reader = $1 AND slot = ANY ($5::smallint[]) AND (owner IS NULL OR (lease_until < clock_timestamp() AND owner <> $2) OR owner = ANY ($6::text[]))
  ORDER BY slot FOR UPDATE SKIP LOCKED)
UPDATE positions p SET owner = $2, lease_until = clock_timestamp() + $3::float8 * interval '1 second', rev = p.rev + 1 FROM free
WHERE p.reader = $1 AND p.slot = free.slot AND $4::float8 IS NOT NULL
RETURNING p.slot, p.rev, p.beyond::text,
  p.gap::text || coalesce(' (positions ' || p.gap_first || ' to ' || p.gap_last || ')', ''), p.era, p.s0::text, p.s1::text, p.done, p.hi;

-- give_back: give up some slots (an array)
UPDATE positions SET owner = NULL, lease_until = '-infinity', rev = rev + 1 WHERE reader = $1 AND owner = $2 AND slot = ANY ($3::smallint[]);

-- release_position: give up every slot
UPDATE positions SET owner = NULL, lease_until = '-infinity', rev = rev + 1 WHERE reader = $1 AND owner = $2;

-- park: add a message to what is unsettled; with nothing before it in its lane it is the head, else it waits.
-- Zero rows mean that it is there already, from a time that the inbox has forgotten.
INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, error_class, error_message,
  error_trace, position, envelope, body, slot)
SELECT $1, $2, $3, $4,
  CASE WHEN EXISTS (SELECT 1 FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3) THEN 'waiting'
       WHEN $5::text = 'dead' THEN 'dead' ELSE 'retrying' END,
  $6::integer, $7::float8, $8::float8, $9::text, $10::text, $11::text, $12::bigint, $13::text, $14::bytea, $15::smallint
ON CONFLICT DO NOTHING;

-- unpark: take a message that was added in this transaction away again
DELETE FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3 AND message_id = $4;

-- postpone: a head failed again, or is put off without an attempt
UPDATE unsettled SET state = $2, attempts = $3, next_at = $4, error_class = $5, error_message = $6, error_trace = $7
WHERE id = $1 AND state = 'retrying';

-- settle: a head has succeeded; zero rows mean that somebody else has settled it
DELETE FROM unsettled WHERE id = $1 AND state = 'retrying';

-- promote: the next message of a lane becomes its head; zero rows mean that the lane is free
UPDATE unsettled SET state = 'retrying', next_at = $4
WHERE id = (SELECT min(id) FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3) AND state = 'waiting';

-- due: heads of a handler in some slots whose time has come; a time beyond $4 was written by a clock that jumped
SELECT id, attempts, since, position, envelope, body, slot FROM unsettled
WHERE service = $1 AND handler = $2 AND state = 'retrying' AND (next_at <= $3 OR next_at > $4) AND slot = ANY ($6::smallint[])
ORDER BY attempts, next_at, id LIMIT $5;

-- next_due: when the next head of a handler will be due
SELECT min(next_at) FROM unsettled
WHERE service = $1 AND handler = $2 AND state = 'retrying' AND next_at > $3 AND slot = ANY ($4::smallint[]);

-- release_handler: everything that a handler's circuit held back is due now
UPDATE unsettled SET next_at = $3 WHERE service = $1 AND handler = $2 AND state = 'retrying' AND next_at > $3;

-- parked_lanes: the lanes of a service that have unsettled messages, in some slots
SELECT DISTINCT handler, lane, slot FROM unsettled WHERE service = $1 AND slot = ANY ($2::smallint[]);

-- list_unsettled: unsettled rows without their bodies, oldest first
SELECT id, service, handler, lane, message_id, state, attempts, next_at, since, error_class, error_message, error_trace, position, envelope, NULL::bytea AS body
FROM unsettled
WHERE ($1::text IS NULL OR service = $1) AND ($2::text IS NULL OR handler = $2) AND ($3::text IS NULL OR state = $3)
  AND ($4::bigint[] IS NULL OR id = ANY ($4))
ORDER BY id LIMIT $5;

-- count_unsettled: how many rows there are per service, handler and state
SELECT service, handler, state, count(*) AS n FROM unsettled GROUP BY service, handler, state ORDER BY 1, 2, 3;

-- show_unsettled: one row whole
SELECT id, service, handler, lane, message_id, state, attempts, next_at, since, error_class, error_message, error_trace, position, envelope, body
FROM unsettled WHERE id = $1;

-- redrive: dead letters are tried again with all their attempts
UPDATE unsettled SET state = 'retrying', attempts = 0, next_at = $5, since = $5
WHERE state IN ('dead', 'retrying') AND ($1::text IS NULL OR service = $1) AND ($2::text IS NULL OR handler = $2)
  AND ($3::text IS NULL OR state = $3) AND ($4::bigint[] IS NULL OR id = ANY ($4));

-- discard: drop one unsettled row for good; returns its lane
DELETE FROM unsettled WHERE id = $1 RETURNING service, handler, lane;

-- reroute: hand an unrouted message to a handler that knows it now
INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, position, envelope, body, slot)
SELECT u.service, $2, u.lane, u.message_id,
  CASE WHEN EXISTS (SELECT 1 FROM unsettled h WHERE h.service = u.service AND h.handler = $2 AND h.lane = u.lane) THEN 'waiting' ELSE 'retrying' END,
  0, $3::float8, $3::float8, u.position, u.envelope, u.body, u.slot FROM unsettled u WHERE u.id = $1 ON CONFLICT DO NOTHING;

-- lane_rows: whether a lane has any unsettled row
SELECT 1 FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3 LIMIT 1;

-- retrying_rows: how many messages are to be tried again
SELECT count(*) FROM unsettled WHERE state = 'retrying';

-- append_dead: add the copy of a message to the journal, if the message is dead now: one behind others waits
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, body, created_at, message_id, source, correlation_id,
  causation_id, trace, content_type, schema_id, details, headers)
SELECT $4::text, $5::text, $6::text, $7::bytea, $8::text::timestamptz, $9::text::uuid, $10::text, $11::text, $12::text, $13::text,
  $14::text, $15::text, $16::text, $17::text
WHERE EXISTS (SELECT FROM unsettled WHERE service = $1 AND handler = $2 AND message_id = $3 AND state = 'dead');

-- fate: what has become of a message of a handler: its row and state, if it has one, and whether the inbox knows it
SELECT u.id, u.state, EXISTS (SELECT 1 FROM processed_events WHERE service = $1 AND handler = $2 AND event_id = $3)
FROM (SELECT 1) one LEFT JOIN unsettled u ON u.service = $1 AND u.handler = $2 AND u.message_id = $3;

-- unseat: whoever owns a reader's slot loads it again, and with it the lanes that have unsettled messages
UPDATE positions SET owner = NULL, lease_until = '-infinity', rev = rev + 1 WHERE reader = $1 AND slot = $2;
