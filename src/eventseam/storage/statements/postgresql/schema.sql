-- home_schema: where our tables are, or where they will be: the last schema of the search path
SELECT coalesce(
  (SELECT n.nspname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.oid = to_regclass('eventseam_migrations')),
  (SELECT s FROM unnest(current_schemas(false)) WITH ORDINALITY AS each (s, n) ORDER BY n DESC LIMIT 1))::text;

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

-- strangers: tables of our names that another program made
SELECT table_name::text FROM information_schema.tables
WHERE table_schema = current_schema() AND table_name IN ('event_outbox', 'positions', 'processed_events', 'unsettled', 'members')
  AND to_regclass('eventseam_migrations') IS NULL ORDER BY 1;

-- remember_search_path: keep the session's search path, to restore it in this transaction
SELECT set_config('eventseam.search_path', current_setting('search_path'), true);

-- use_search_path: look in one schema only, for the rest of this transaction
SELECT set_config('search_path', quote_ident($1::text), true);

-- restore_search_path: look where the session looks
SELECT set_config('search_path', current_setting('eventseam.search_path'), true);
