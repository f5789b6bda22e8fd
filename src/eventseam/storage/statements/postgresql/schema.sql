-- home_schema: where our tables are, or where they will be: the last schema of the search path that is for tables
SELECT coalesce(
  (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('eventseam_migrations')),
  (SELECT s FROM unnest(current_schemas(false)) WITH ORDINALITY AS each (s, n)
   WHERE s !~ '^pg_' AND s <> 'information_schema' ORDER BY n DESC LIMIT 1))::text;

-- has_migrations: whether the table of applied migrations is there
SELECT to_regclass('eventseam_migrations') IS NOT NULL;

-- lock_migrations: one process at a time brings the schema up to date; the others wait
SELECT pg_advisory_xact_lock(7310584901632427109);

-- make_migrations: the table of applied migrations
CREATE TABLE eventseam_migrations (number integer PRIMARY KEY, name text NOT NULL, applied_at timestamptz NOT NULL);

-- applied_migrations: the numbers that this database has
SELECT number FROM eventseam_migrations ORDER BY number;

-- note_migration: one more migration is applied
INSERT INTO eventseam_migrations (number, name, applied_at) VALUES ($1, $2, $3::text::timestamptz);

-- strangers: tables of our names in the schema $1 that another program made
SELECT c.relname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = $1::text AND c.relname IN ('event_outbox', 'positions', 'processed_events', 'unsettled', 'members')
  AND c.relkind IN ('r', 'p', 'v', 'm', 'f') AND to_regclass('eventseam_migrations') IS NULL ORDER BY 1;

-- strays: our names in other schemas of the search path than $1, where our tables are
SELECT c.relname::text, n.nspname::text FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
WHERE n.nspname = ANY (current_schemas(false)) AND n.nspname <> $1::text AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
  AND c.relname IN ('event_outbox', 'processed_events', 'unsettled', 'positions', 'members', 'eventseam_journal',
    'eventseam_migrations', 'eventseam_outbox', 'event_outbox_id_seq', 'event_outbox_position_seq', 'unsettled_id_seq')
ORDER BY 1, 2;

-- remember_search_path: keep the session's search path, to restore it in this transaction
SELECT set_config('eventseam.search_path', current_setting('search_path'), true);

-- use_search_path: look in one schema only, for the rest of this transaction
SELECT set_config('search_path', quote_ident($1::text), true);

-- restore_search_path: look where the session looks
SELECT set_config('search_path', current_setting('eventseam.search_path'), true);
