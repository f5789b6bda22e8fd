-- lock_journal: nobody is appending, and nobody will before this transaction ends
LOCK TABLE event_outbox IN ACCESS EXCLUSIVE MODE;

-- begin_era: the journal is in its next era, and belongs to the cluster that we are connected to. Returns the era, the
-- cluster and the cluster before
UPDATE eventseam_journal j SET era = j.era + 1, cluster = (SELECT system_identifier::text FROM pg_control_system())
FROM eventseam_journal old RETURNING j.era, j.cluster, old.cluster;

-- append_in_era: rows appended from now on are of the new era, and of no other
DO $$
DECLARE era smallint := (SELECT era FROM eventseam_journal);
BEGIN
  EXECUTE format('ALTER TABLE event_outbox ALTER COLUMN era SET DEFAULT %s', era);
  EXECUTE format('CREATE OR REPLACE TRIGGER event_outbox_x_is_its_own BEFORE INSERT ON event_outbox FOR EACH ROW
    WHEN (NEW.x IS DISTINCT FROM pg_current_xact_id() OR NEW.era IS DISTINCT FROM %s)
    EXECUTE FUNCTION eventseam_refuse(''x'')', era);
END $$;

-- fence_readers: whoever read this journal before reads on only after it has loaded its position again
UPDATE positions SET rev = rev + 1, owner = NULL, lease_until = '-infinity';

-- forget_all_members: the processes that shared slots did so elsewhere
DELETE FROM members;

-- readers_behind: the readers that have not reached an era yet
SELECT DISTINCT reader FROM positions WHERE era < $1::smallint ORDER BY reader;
