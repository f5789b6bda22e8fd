-- make_migrations: the table of applied migrations
CREATE TABLE IF NOT EXISTS eventseam_migrations (number INTEGER PRIMARY KEY, name TEXT NOT NULL, applied_at TEXT NOT NULL);

-- applied_migrations: the numbers that this database has
SELECT number FROM eventseam_migrations ORDER BY number;

-- note_migration: one more migration is applied
INSERT INTO eventseam_migrations (number, name, applied_at) VALUES ($1, $2, $3);
