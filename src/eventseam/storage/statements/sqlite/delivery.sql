-- fence: move a position if this owner still is the owner; zero rows mean that it is not
UPDATE positions SET done = $1, beyond = $2, rev = rev + 1 WHERE reader = $3 AND slot = $4 AND rev = $5;

-- claim_inbox: mark messages (a JSON array of ids) as taken by a handler; returns those that were not yet
INSERT INTO processed_events (event_id, service, handler, processed_at)
SELECT value, $2, $3, $4 FROM json_each($1) WHERE true
ON CONFLICT DO NOTHING RETURNING event_id;

-- new_position: make the row of a reader's slot if there is none
INSERT INTO positions (reader, slot) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- load_position: the row of a reader's slot
SELECT done, beyond, rev, owner, lease_until FROM positions WHERE reader = $1 AND slot = $2;

-- take_position: become the owner, if the row is as it was read
UPDATE positions SET owner = $1, lease_until = $2, rev = rev + 1 WHERE reader = $3 AND slot = $4 AND rev = $5;

-- renew_lease: stay the owner; zero rows mean that another has taken over
UPDATE positions SET lease_until = $1 WHERE reader = $2 AND owner = $3;

-- release_position: give up ownership
UPDATE positions SET owner = NULL, lease_until = 0, rev = rev + 1 WHERE reader = $1 AND owner = $2;

-- all_positions: every reader's row
SELECT reader, slot, done, owner, lease_until FROM positions ORDER BY reader, slot;

-- park: add a message to what is unsettled; with nothing before it in its lane it is the head, else it waits.
-- Zero rows mean that it is there already, from a time that the inbox has forgotten.
INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, error_class, error_message,
  error_trace, position, envelope, body)
SELECT $1, $2, $3, $4,
  CASE WHEN EXISTS (SELECT 1 FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3) THEN 'waiting'
       WHEN $5 = 'dead' THEN 'dead' ELSE 'retrying' END,
  $6, $7, $8, $9, $10, $11, $12, $13, $14 WHERE true ON CONFLICT DO NOTHING;

-- postpone: a head failed again, or is put off without an attempt
UPDATE unsettled SET state = $2, attempts = $3, next_at = $4, error_class = $5, error_message = $6, error_trace = $7
WHERE id = $1 AND state = 'retrying';

-- settle: a head has succeeded; zero rows mean that somebody else has settled it
DELETE FROM unsettled WHERE id = $1 AND state = 'retrying';

-- promote: the next message of a lane becomes its head; zero rows mean that the lane is free
UPDATE unsettled SET state = 'retrying', next_at = $4
WHERE id = (SELECT min(id) FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3) AND state = 'waiting';

-- due: heads of a handler whose time has come; a time beyond $4 was written by a clock that jumped
SELECT id, attempts, since, position, envelope, body FROM unsettled
WHERE service = $1 AND handler = $2 AND state = 'retrying' AND (next_at <= $3 OR next_at > $4)
ORDER BY attempts, next_at, id LIMIT $5;

-- next_due: when the next head of a handler will be due
SELECT min(next_at) FROM unsettled WHERE service = $1 AND handler = $2 AND state = 'retrying' AND next_at > $3;

-- release_handler: everything that a handler's circuit held back is due now
UPDATE unsettled SET next_at = $3 WHERE service = $1 AND handler = $2 AND state = 'retrying' AND next_at > $3;

-- parked_lanes: the lanes of a service that have unsettled messages
SELECT DISTINCT handler, lane FROM unsettled WHERE service = $1;

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
INSERT INTO unsettled (service, handler, lane, message_id, state, attempts, next_at, since, position, envelope, body)
SELECT u.service, $2, u.lane, u.message_id,
  CASE WHEN EXISTS (SELECT 1 FROM unsettled h WHERE h.service = u.service AND h.handler = $2 AND h.lane = u.lane) THEN 'waiting' ELSE 'retrying' END,
  0, $3, $3, u.position, u.envelope, u.body FROM unsettled u WHERE u.id = $1 ON CONFLICT DO NOTHING;

-- lane_rows: whether a lane has any unsettled row
SELECT 1 FROM unsettled WHERE service = $1 AND handler = $2 AND lane = $3 LIMIT 1;

-- retrying_rows: how many messages are to be tried again
SELECT count(*) FROM unsettled WHERE state = 'retrying';
