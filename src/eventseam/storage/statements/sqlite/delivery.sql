-- fence: move positions whose rows have the revisions that their owner knows; fewer rows than asked mean another owner.
-- $1 is JSON: [[reader, slot, rev, beyond, done, life, cursor], …]; a life is '' here. $2 is not needed here: one transaction writes at a time.
UPDATE positions SET done = f.done, beyond = f.beyond, rev = positions.rev + 1, moved_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now'),
  cursor = coalesce(f.cursor, positions.cursor)
FROM (SELECT json_extract(value, '$[0]') AS reader, json_extract(value, '$[1]') AS slot, json_extract(value, '$[2]') AS rev,
  json_extract(value, '$[3]') AS beyond, json_extract(value, '$[4]') AS done, json_extract(value, '$[6]') AS cursor
  FROM json_each($1) WHERE $2 IS NOT NULL) f
WHERE positions.reader = f.reader AND positions.slot = f.slot AND positions.rev = f.rev;

-- life: a crash takes back nothing that was read here before it was committed
SELECT '';

-- note: `fence` for a relay ($1, $2 as in `life`)
UPDATE positions SET done = f.done, beyond = f.beyond, rev = positions.rev + 1, moved_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now')
FROM (SELECT json_extract(value, '$[0]') AS reader, json_extract(value, '$[1]') AS slot, json_extract(value, '$[2]') AS rev,
  json_extract(value, '$[3]') AS beyond, json_extract(value, '$[4]') AS done FROM json_each($1) WHERE $2 = '') f
WHERE positions.reader = f.reader AND positions.slot = f.slot AND positions.rev = f.rev;

-- revisions: the revisions of some readers' rows (an array)
SELECT reader, slot, rev FROM positions WHERE reader IN (SELECT value FROM json_each($1));

-- claim_inbox: mark messages (a JSON array of ids) as taken by a handler; returns those that were not yet
INSERT INTO processed_events (event_id, service, handler, processed_at)
SELECT value, $2, $3, $4 FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING RETURNING event_id;

-- new_position: make the row of a reader's slot if there is none
INSERT INTO positions (reader, slot) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- join: be a member of a reader's owners, or stay one ($3 lease in seconds, $4 now)
INSERT INTO members (reader, owner, until) VALUES ($1, $2, $4 + $3)
ON CONFLICT (reader, owner) DO UPDATE SET until = excluded.until;

-- leave: be a member no more
DELETE FROM members WHERE reader = $1 AND owner = $2;

-- members: who shares a reader's slots ($2 now)
SELECT owner FROM members WHERE reader = $1 AND until > $2 ORDER BY owner;

-- renew: stay the owner of what is ours
UPDATE positions SET lease_until = $4 + $3 WHERE reader = $1 AND owner = $2;

-- held: who has each slot of a reader
SELECT slot, owner FROM positions WHERE reader = $1 ORDER BY slot;

-- claim: become the owner of up to $5 slots that nobody holds, or that owners hold who are gone (an array).
-- A lease further away than one can be was written by a clock that jumped.
UPDATE positions SET owner = $2, lease_until = $4 + $3, rev = rev + 1
WHERE reader = $1 AND slot IN (
  SELECT slot FROM positions WHERE reader = $1 AND (owner IS NULL OR lease_until <= $4 OR lease_until > $4 + 2 * $3
    OR owner IN (SELECT value FROM json_each($6))) ORDER BY slot LIMIT $5)
RETURNING slot, rev, beyond, gap || coalesce(' (positions ' || gap_first || ' to ' || gap_last || ')', ''), done;

-- claim_these: `claim` for those slots only that a broker has shared out to us ($5, an array)
UPDATE positions SET owner = $2, lease_until = $4 + $3, rev = rev + 1
WHERE reader = $1 AND slot IN (
  SELECT slot FROM positions WHERE reader = $1 AND slot IN (SELECT value FROM json_each($5)) AND (owner IS NULL OR lease_until <= $4 OR lease_until > $4 + 2 * $3
    OR owner IN (SELECT value FROM json_each($6))))
RETURNING slot, rev, beyond, gap || coalesce(' (positions ' || gap_first || ' to ' || gap_last || ')', ''), done;

-- give_back: give up some slots (an array)
UPDATE positions SET owner = NULL, lease_until = 0, rev = rev + 1
WHERE reader = $1 AND owner = $2 AND slot IN (SELECT value FROM json_each($3));

-- release_position: give up every slot
UPDATE positions SET owner = NULL, lease_until = 0, rev = rev + 1 WHERE reader = $1 AND owner = $2;

-- all_positions: every reader's rows
SELECT reader, slot, owner FROM positions ORDER BY reader, slot;

-- park: add a message to what is unsettled; with nothing before it in its lane it is the head, else it waits.
-- Zero rows mean that it is there already, from a time that the inbox has forgotten.
INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, error_class, error_message,
  error_trace, position, envelope, body, slot)
SELECT $1, $2, $3, $4,
  CASE WHEN EXISTS (SELECT 1 FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3) THEN 'waiting'
       WHEN $5 = 'dead' THEN 'dead' ELSE 'retrying' END,
  $6, $7, $8, $9, $10, $11, $12, $13, $14, $15 WHERE true ON CONFLICT DO NOTHING;

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
WHERE service = $1 AND handler = $2 AND state = 'retrying' AND (next_at <= $3 OR next_at > $4)
  AND slot IN (SELECT value FROM json_each($6))
ORDER BY attempts, next_at, id LIMIT $5;

-- next_due: when the next head of a handler will be due
SELECT min(next_at) FROM unsettled
WHERE service = $1 AND handler = $2 AND state = 'retrying' AND next_at > $3 AND slot IN (SELECT value FROM json_each($4));

-- release_handler: everything that a handler's circuit held back is due now
UPDATE unsettled SET next_at = $3 WHERE service = $1 AND handler = $2 AND state = 'retrying' AND next_at > $3;

-- parked_lanes: the lanes of a service that have unsettled messages, in some slots
SELECT DISTINCT handler, lane, slot FROM unsettled WHERE service = $1 AND slot IN (SELECT value FROM json_each($2));

-- list_unsettled: unsettled rows without their bodies, oldest first
SELECT id, service, handler, lane, message_id, state, attempts, next_at, since, error_class, error_message, error_trace, position, envelope, NULL AS body
FROM unsettled
WHERE ($1 IS NULL OR service = $1) AND ($2 IS NULL OR handler = $2) AND ($3 IS NULL OR state = $3)
  AND ($4 IS NULL OR id IN (SELECT value FROM json_each($4)))
ORDER BY id LIMIT $5;

-- count_unsettled: how many rows there are per service, handler and state
SELECT service, handler, state, count(*) AS n FROM unsettled GROUP BY service, handler, state ORDER BY 1, 2, 3;

-- show_unsettled: one row whole
SELECT id, service, handler, lane, message_id, state, attempts, next_at, since, error_class, error_message, error_trace, position, envelope, body
FROM unsettled WHERE id = $1;

-- redrive: dead letters are tried again with all their attempts
UPDATE unsettled SET state = 'retrying', attempts = 0, next_at = $5, since = $5
WHERE state IN ('dead', 'retrying') AND ($1 IS NULL OR service = $1) AND ($2 IS NULL OR handler = $2)
  AND ($3 IS NULL OR state = $3) AND ($4 IS NULL OR id IN (SELECT value FROM json_each($4)));

-- discard: drop one unsettled row for good; returns its lane
DELETE FROM unsettled WHERE id = $1 RETURNING service, handler, lane;

-- reroute: hand an unrouted message to a handler that knows it now
INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, position, envelope, body, slot)
SELECT u.service, $2, u.lane, u.message_id,
  CASE WHEN EXISTS (SELECT 1 FROM unsettled h WHERE h.service = u.service AND h.handler = $2 AND h.lane = u.lane) THEN 'waiting' ELSE 'retrying' END,
  0, $3, $3, u.position, u.envelope, u.body, u.slot FROM unsettled u WHERE u.id = $1 ON CONFLICT DO NOTHING;

-- lane_rows: whether a lane has any unsettled row
SELECT 1 FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3 LIMIT 1;

-- retrying_rows: how many messages are to be tried again
SELECT count(*) FROM unsettled WHERE state = 'retrying';

-- append_dead: add the copy of a message to the journal, if the message is dead now: one behind others waits
INSERT INTO event_outbox (aggregate_type, aggregate_id, event_type, payload, body, created_at, message_id, source, correlation_id,
  causation_id, trace, content_type, schema_id, details, headers)
SELECT $4, $5, $6, '', $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17
WHERE EXISTS (SELECT 1 FROM unsettled WHERE service = $1 AND handler = $2 AND message_id = $3 AND state = 'dead');

-- fate: what has become of a message of a handler: its row and state, if it has one, and whether the inbox knows it
SELECT u.id, u.state, EXISTS (SELECT 1 FROM processed_events WHERE service = $1 AND handler = $2 AND event_id = $3)
FROM (SELECT 1) one LEFT JOIN unsettled u ON u.service = $1 AND u.handler = $2 AND u.message_id = $3;

-- unseat: whoever owns a reader's slot loads it again, and with it the lanes that have unsettled messages
UPDATE positions SET owner = NULL, lease_until = 0, rev = rev + 1 WHERE reader = $1 AND slot = $2;
