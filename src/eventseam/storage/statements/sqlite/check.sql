-- describe_schema: our tables, their columns, indexes and triggers; our views
SELECT 'column ' || s.name || '.' || c.name || ' ' || c.type || CASE WHEN c."notnull" THEN ' not null' ELSE '' END
FROM sqlite_schema s JOIN pragma_table_info(s.name) c
WHERE s.name IN ('event_outbox', 'processed_events', 'unsettled', 'positions', 'members', 'eventseam_migrations', 'eventseam_outbox')
UNION ALL
SELECT type || ' ' || tbl_name || '.' || name FROM sqlite_schema
WHERE type IN ('index', 'trigger') AND tbl_name IN ('event_outbox', 'processed_events', 'unsettled', 'positions', 'members');
