-- be_durable: every commit waits for the disk, or loses only at power loss
SELECT 1;

-- new_remote_position: make the row of a slot of another journal, whose cursor is kept there: all of ours is finished
INSERT INTO positions (reader, slot, done) VALUES ($1, $2, 9223372036854775807) ON CONFLICT DO NOTHING;

-- bus_readers: the readers of other databases that read this one as their bus; a file is nobody's
SELECT DISTINCT reader FROM positions WHERE owner = 'bus' ORDER BY 1;

-- new_apart_position: make the row of a slot of a log apart from this journal, which begins at a cursor (JSON): all of
-- ours is finished
INSERT INTO positions (reader, slot, done, cursor) VALUES ($1, $2, 9223372036854775807, $3) ON CONFLICT DO NOTHING;

-- apart_cursors: how far the readers (an array) of logs apart from this journal are
SELECT reader, slot, cursor, owner FROM positions WHERE reader IN (SELECT value FROM json_each($1)) ORDER BY reader, slot;

-- widen_cursor: put a cursor (JSON) in the place of the one that was read, to which another channel was added
UPDATE positions SET cursor = $4 WHERE reader = $1 AND slot = $2 AND cursor IS $3;

-- lanes_elsewhere: the lanes of a service's handlers (an array) that have unsettled messages, and their slots
SELECT DISTINCT lane, slot FROM unsettled WHERE service = $1 AND handler IN (SELECT value FROM json_each($2));

-- move_lane: the unsettled messages of a lane, whatever the handler of an array, belong to another slot from now on
UPDATE unsettled SET slot = $4 WHERE service = $1 AND lane = $2 AND handler IN (SELECT value FROM json_each($3));

-- put_cursor: a reader goes on at a cursor (JSON) on a slot; whoever owns it is fenced
UPDATE positions SET cursor = $3, beyond = '[]', rev = rev + 1 WHERE reader = $1 AND slot = $2;

-- fence_reader: whoever owns a slot of a reader loads it again
UPDATE positions SET rev = rev + 1 WHERE reader = $1;
