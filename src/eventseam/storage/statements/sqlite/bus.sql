-- be_durable: every commit waits for the disk, or loses only at power loss
SELECT 1;

-- new_remote_position: make the row of a slot of another journal, whose cursor is kept there: all of ours is finished
INSERT INTO positions (reader, slot, done) VALUES ($1, $2, 9223372036854775807) ON CONFLICT DO NOTHING;

-- bus_readers: the readers of other databases that read this one as their bus; a file is nobody's
SELECT DISTINCT reader FROM positions WHERE owner = 'bus' ORDER BY 1;
