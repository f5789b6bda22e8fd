-- start_at_beginning: the rows of a reader's slots (an array) that are not there, at the beginning of the journal
INSERT INTO positions (reader, slot) SELECT $1, value FROM json_each($2) WHERE true ON CONFLICT DO NOTHING;

-- start_now: the same behind everything that is there now
INSERT INTO positions (reader, slot, done)
SELECT $1, value, coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0) FROM json_each($2) WHERE true
ON CONFLICT DO NOTHING;

-- start_from: the same before the first row of time $3 or later; behind everything if there is none
INSERT INTO positions (reader, slot, done)
SELECT $1, value, coalesce((SELECT min(id) - 1 FROM event_outbox WHERE created_at >= $3),
  (SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0) FROM json_each($2) WHERE true
ON CONFLICT DO NOTHING;

-- start_unread: the same before the first row of channels $3 (an array) that one of the journal's own readers has not
-- finished; behind everything if there is none
INSERT INTO positions (reader, slot, done)
SELECT $1, value, coalesce((
    SELECT min(o.id) - 1 FROM positions p JOIN event_outbox o ON o.id > p.done
    WHERE p.reader NOT LIKE '%@bus' AND o.aggregate_type IN (SELECT value FROM json_each($3))
      AND NOT EXISTS (SELECT 1 FROM json_each(p.beyond) b WHERE b.value = o.id)),
  (SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0) FROM json_each($2);
