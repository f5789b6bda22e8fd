-- describe_schema: our tables, their columns, constraints, indexes and triggers; our functions and views
WITH ours AS (
  SELECT c.oid, c.relname, c.relkind FROM pg_class c
  WHERE c.relnamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('eventseam_migrations'))
    AND c.relname IN ('event_outbox', 'processed_events', 'unsettled', 'positions', 'members', 'eventseam_journal',
      'eventseam_migrations', 'eventseam_outbox'))
SELECT format('column %s.%s %s%s', o.relname, a.attname, format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN ' not null' END)
FROM ours o JOIN pg_attribute a ON a.attrelid = o.oid AND a.attnum > 0 AND NOT a.attisdropped
UNION ALL
SELECT format('constraint %s.%s', o.relname, c.conname) FROM ours o JOIN pg_constraint c ON c.conrelid = o.oid AND c.contype <> 'n'
UNION ALL
SELECT format('index %s.%s%s%s', o.relname, i.relname, CASE WHEN x.indisunique THEN ' unique' END, CASE WHEN NOT x.indisvalid THEN ' invalid' END)
FROM ours o JOIN pg_index x ON x.indrelid = o.oid JOIN pg_class i ON i.oid = x.indexrelid
UNION ALL
SELECT format('trigger %s.%s%s', o.relname, t.tgname, CASE WHEN t.tgenabled <> 'O' THEN ' ' || t.tgenabled::text END)
FROM ours o JOIN pg_trigger t ON t.tgrelid = o.oid AND NOT t.tgisinternal
UNION ALL
SELECT format('function %s %s', p.proname, md5(p.prosrc)) FROM pg_proc p
WHERE p.pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = to_regclass('eventseam_migrations')) AND p.proname LIKE 'eventseam\_%';

-- privileges_missing: what this role may not do with our tables and sequences
SELECT string_agg(p, ', ' ORDER BY at), what, this FROM (
  SELECT p, at, t AS what, t AS this
  FROM unnest(ARRAY['event_outbox', 'processed_events', 'unsettled', 'positions', 'members', 'eventseam_migrations', 'eventseam_journal']) t,
    unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) WITH ORDINALITY AS each (p, at)
  WHERE to_regclass(t) IS NOT NULL AND NOT (p = 'UPDATE' AND t IN ('event_outbox', 'processed_events'))
    AND NOT (p <> 'SELECT' AND t LIKE 'eventseam\_%') AND NOT has_table_privilege(to_regclass(t), p)
  UNION ALL
  SELECT p, 1, s, 'SEQUENCE ' || s
  FROM (VALUES ('event_outbox_id_seq', 'USAGE'), ('event_outbox_position_seq', 'SELECT'), ('unsettled_id_seq', 'USAGE')) AS each (s, p)
  WHERE to_regclass(s) IS NOT NULL AND NOT has_sequence_privilege(to_regclass(s), p)) AS missing
GROUP BY what, this ORDER BY what;

-- schemas_without: those that the search path names and this role has not the right $1 to
SELECT n.nspname::text FROM unnest(string_to_array(current_setting('search_path'), ',')) AS s
JOIN pg_namespace n ON n.nspname = CASE btrim(s, ' "') WHEN '$user' THEN current_user ELSE btrim(s, ' "') END
WHERE n.nspname !~ '^pg_' AND NOT has_schema_privilege(n.oid, $1::text) ORDER BY 1;

-- role: who we are here
SELECT current_user::text;

-- sees_others: whether this role may see since when other roles' transactions run
SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE');

-- server_settings: settings of the server that may endanger us
SELECT name, setting FROM pg_settings WHERE name IN
  ('fsync', 'full_page_writes', 'idle_session_timeout', 'transaction_timeout', 'autovacuum', 'max_connections', 'zero_damaged_pages', 'track_activities',
  'default_transaction_read_only');

-- other_cluster: the cluster that a journal was written in and the one that we are connected to, where they differ
SELECT cluster, (SELECT system_identifier::text FROM pg_control_system()) FROM eventseam_journal
WHERE cluster <> (SELECT system_identifier::text FROM pg_control_system());

-- journal_rows: how many rows eventseam_journal has: one
SELECT count(*) FROM eventseam_journal;

-- old_transactions: who has been in a transaction for longer than $1 seconds and holds back a snapshot, oldest first
SELECT a.pid, coalesce(a.application_name, ''), extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
  format('%s in database %s, its snapshot is %s transactions old', a.state, a.datname, greatest(age(a.backend_xmin), age(a.backend_xid)))
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND (a.backend_xmin IS NOT NULL OR a.backend_xid IS NOT NULL)
  AND a.xact_start < clock_timestamp() - $1::float8 * interval '1 second'
ORDER BY a.xact_start;

-- held_slots: replication slots that hold back a snapshot
SELECT slot_name::text, format('replication slot%s, its snapshot is %s transactions old', CASE WHEN active THEN '' ELSE ' that nobody uses' END,
  greatest(age(xmin), age(catalog_xmin)))
FROM pg_replication_slots WHERE xmin IS NOT NULL OR catalog_xmin IS NOT NULL ORDER BY 1;

-- forgotten_prepared: prepared transactions older than $1 seconds: they hold their locks over restarts
SELECT gid, owner::text, extract(epoch FROM clock_timestamp() - prepared)::float8, format('ROLLBACK PREPARED %L; in database %s', gid, database)
FROM pg_prepared_xacts WHERE prepared < clock_timestamp() - $1::float8 * interval '1 second' ORDER BY prepared;

-- held_positions: who has held locks on rows of positions for longer than $1 seconds, and how many wait for it
SELECT a.pid, coalesce(a.application_name, ''), extract(epoch FROM clock_timestamp() - a.xact_start)::float8,
  format('%s, %s wait for it', a.state, (SELECT count(*) FROM pg_stat_activity w WHERE a.pid = ANY (pg_blocking_pids(w.pid))))
FROM pg_stat_activity a
WHERE a.pid <> pg_backend_pid() AND a.xact_start < clock_timestamp() - $1::float8 * interval '1 second' AND EXISTS (
  SELECT FROM pg_locks l WHERE l.pid = a.pid AND l.locktype = 'relation' AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database()) AND l.relation = to_regclass('positions')
    AND l.mode NOT IN ('AccessShareLock', 'ShareUpdateExclusiveLock'))
ORDER BY a.xact_start;
