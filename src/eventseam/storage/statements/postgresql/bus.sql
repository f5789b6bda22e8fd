-- take_cursors: the cursors of a reader's slots, kept for the owner who has these revisions: JSON [[reader, slot, rev], …]
WITH taken AS (SELECT f->>0 AS reader, (f->>1)::smallint AS slot, (f->>2)::bigint AS rev FROM jsonb_array_elements($1::text::jsonb) f)
UPDATE positions p SET rev = t.rev, owner = 'bus' FROM taken t WHERE p.reader = t.reader AND p.slot = t.slot
RETURNING p.slot, p.era, p.s0::text, p.s1::text, p.done, p.hi;

-- keep_cursors: move cursors where no newer owner has: JSON [[reader, slot, rev, era, s0, s1, done, hi], …]
UPDATE positions p SET era = f.era, s0 = f.s0, s1 = f.s1, done = f.done, hi = f.hi, rev = f.rev, moved_at = clock_timestamp(), owner = 'bus'
FROM (SELECT f->>0 AS reader, (f->>1)::smallint AS slot, (f->>2)::bigint AS rev, (f->>3)::smallint AS era, (f->>4)::pg_snapshot AS s0,
    (f->>5)::pg_snapshot AS s1, (f->>6)::bigint AS done, (f->>7)::bigint AS hi FROM jsonb_array_elements($1::text::jsonb) f) f
WHERE p.reader = f.reader AND p.slot = f.slot AND p.rev <= f.rev;

-- append_whole: add messages that come from another journal, as they are. An id that is no uuid gets one made of it.
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source,
  correlation_id, causation_id, trace, content_type, schema_id, details)
SELECT c, k, w, p::jsonb, b, t::timestamptz,
  CASE WHEN m ~ '^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$' THEN m::uuid ELSE md5(m)::uuid END, s, r, u, h, y, i, d
FROM unnest($1::text[], $2::text[], $3::text[], $4::text[], $5::bytea[], $6::text[], $7::text[], $8::text[], $9::text[],
  $10::text[], $11::text[], $12::text[], $13::text[], $14::text[]) AS each (c, k, w, p, b, t, m, s, r, u, h, y, i, d);

-- be_durable: the commit of this transaction waits for the disk, and with it everything that was committed before
SELECT set_config('synchronous_commit', 'on', true);

-- new_remote_position: make the row of a slot of another journal, whose cursor is kept there: all of ours is finished
INSERT INTO positions (reader, slot, s0) VALUES ($1, $2, '9223372036854775807:9223372036854775807:') ON CONFLICT DO NOTHING;

-- journal_identity: which journal this is, by whatever address it is reached: its cluster, its database and its table
SELECT (SELECT system_identifier::text FROM pg_control_system()), (SELECT oid::text FROM pg_database WHERE datname = current_database()),
  'event_outbox'::regclass::oid::text;

-- bus_readers: the readers of other databases that read this one as their bus
SELECT DISTINCT reader FROM positions WHERE owner = 'bus' ORDER BY 1;

-- new_apart_position: make the row of a slot of a log apart from this journal, which begins at a cursor (JSON): all of
-- ours is finished
INSERT INTO positions (reader, slot, s0, cursor) VALUES ($1, $2, '9223372036854775807:9223372036854775807:', $3) ON CONFLICT DO NOTHING;

-- apart_cursors: how far the readers (an array) of logs apart from this journal are
SELECT reader, slot, cursor, owner FROM positions WHERE reader = ANY ($1::text[]) ORDER BY reader, slot;

-- widen_cursor: put a cursor (JSON) in the place of the one that was read, to which another channel was added
UPDATE positions SET cursor = $4 WHERE reader = $1 AND slot = $2 AND cursor IS NOT DISTINCT FROM $3::text;

-- lanes_elsewhere: the lanes of a service's handlers (an array) that have unsettled messages, and their slots
SELECT DISTINCT lane, slot FROM unsettled WHERE service = $1 AND handler = ANY ($2::text[]);

-- move_lane: the unsettled messages of a lane, whatever the handler of an array, belong to another slot from now on
UPDATE unsettled SET slot = $4 WHERE service = $1 AND lane = $2 AND handler = ANY ($3::text[]);

-- put_cursor: a reader goes on at a cursor (JSON) on a slot; whoever owns it is fenced
UPDATE positions SET cursor = $3, beyond = '[]', rev = rev + 1 WHERE reader = $1 AND slot = $2;

-- fence_reader: whoever owns a slot of a reader loads it again
UPDATE positions SET rev = rev + 1 WHERE reader = $1;
