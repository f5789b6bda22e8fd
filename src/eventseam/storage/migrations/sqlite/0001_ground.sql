-- The journal. The first seven columns are the public interface: any program may insert the four without defaults.
-- A text's length ends at its first NUL, that of its bytes does not: what is bounded is bounded in bytes.
-- AUTOINCREMENT is the order of the log: ids are never used twice, and one writer at a time makes id order commit order.
CREATE TABLE event_outbox (
  id             INTEGER PRIMARY KEY AUTOINCREMENT CONSTRAINT id_is_given_by_the_database CHECK (id < 1125899906842624),
  aggregate_type TEXT NOT NULL CONSTRAINT aggregate_type_is_a_channel_name CHECK (typeof(aggregate_type) = 'text' AND length(CAST(aggregate_type AS BLOB)) BETWEEN 1 AND 128),
  aggregate_id   TEXT NOT NULL CONSTRAINT aggregate_id_is_a_key_of_1_to_512_characters CHECK (typeof(aggregate_id) = 'text' AND length(aggregate_id) BETWEEN 1 AND 512 AND length(CAST(aggregate_id AS BLOB)) <= 2048),
  event_type     TEXT NOT NULL CONSTRAINT event_type_has_1_to_256_characters CHECK (typeof(event_type) = 'text' AND length(CAST(event_type AS BLOB)) BETWEEN 1 AND 256),
  payload        TEXT NOT NULL CONSTRAINT payload_has_at_most_4_MiB CHECK (length(CAST(payload AS BLOB)) <= 4194304),
  created_at     TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')) CONSTRAINT created_at_has_at_most_4096_bytes CHECK (length(CAST(created_at AS BLOB)) <= 4096),
  published_at   TEXT,
  message_id     TEXT NOT NULL DEFAULT (lower(hex(randomblob(4)) || '-' || hex(randomblob(2)) || '-4' || substr(hex(randomblob(2)), 2)
                   || '-' || substr('89AB', 1 + (random() & 3), 1) || substr(hex(randomblob(2)), 2) || '-' || hex(randomblob(6))))
                   CONSTRAINT message_id_has_at_most_4096_bytes CHECK (length(CAST(message_id AS BLOB)) <= 4096),
  source         TEXT CONSTRAINT source_has_at_most_4096_bytes CHECK (length(CAST(source AS BLOB)) <= 4096),
  correlation_id TEXT CONSTRAINT correlation_id_has_at_most_4096_bytes CHECK (length(CAST(correlation_id AS BLOB)) <= 4096),
  causation_id   TEXT CONSTRAINT causation_id_has_at_most_4096_bytes CHECK (length(CAST(causation_id AS BLOB)) <= 4096),
  trace          TEXT CONSTRAINT trace_has_at_most_4096_bytes CHECK (length(CAST(trace AS BLOB)) <= 4096),
  content_type   TEXT CONSTRAINT content_type_has_at_most_4096_bytes CHECK (length(CAST(content_type AS BLOB)) <= 4096),
  schema_id      TEXT CONSTRAINT schema_id_has_at_most_4096_bytes CHECK (length(CAST(schema_id AS BLOB)) <= 4096),
  details        TEXT CONSTRAINT details_has_at_most_4096_bytes CHECK (length(CAST(details AS BLOB)) <= 4096),
  body           BLOB CONSTRAINT body_has_at_most_4_MiB CHECK (body IS NULL OR length(body) <= 4194304)
);

-- A smaller explicit id would lie before positions that readers have passed: it would never be delivered.
CREATE TRIGGER event_outbox_ids_only_grow AFTER INSERT ON event_outbox
  WHEN NEW.id < coalesce((SELECT seq FROM sqlite_sequence WHERE name = 'event_outbox'), 0)
BEGIN
  SELECT RAISE(ABORT, 'event_outbox.id is given by the database: leave it out of the INSERT');
END;

-- The inbox: what a handler has applied, or keeps in unsettled.
CREATE TABLE processed_events (
  event_id     TEXT NOT NULL,
  service      TEXT NOT NULL,
  handler      TEXT NOT NULL,
  processed_at TEXT NOT NULL DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now')),
  PRIMARY KEY (service, handler, event_id)
);

-- What did not succeed yet. Within (service, handler, lane) the row with the smallest id is the head: retrying or dead.
-- All others wait behind it.
CREATE TABLE unsettled (
  id            INTEGER PRIMARY KEY AUTOINCREMENT,
  service       TEXT NOT NULL,
  handler       TEXT NOT NULL,
  lane          TEXT NOT NULL,
  message_id    TEXT NOT NULL,
  state         TEXT NOT NULL CHECK (state IN ('retrying', 'waiting', 'dead')),
  attempts      INTEGER NOT NULL DEFAULT 0,
  next_at       REAL NOT NULL,
  since         REAL NOT NULL,
  error_class   TEXT,
  error_message TEXT,
  error_trace   TEXT,
  position      INTEGER NOT NULL,
  envelope      TEXT NOT NULL,
  body          BLOB NOT NULL,
  UNIQUE (service, handler, message_id)
);
CREATE INDEX unsettled_lane ON unsettled (service, handler, lane, id);
CREATE INDEX unsettled_due ON unsettled (service, handler, next_at) WHERE state = 'retrying';

-- One row per reader and slot: everything up to done is finished, and so are the positions in beyond; rev is the fence.
CREATE TABLE positions (
  reader      TEXT NOT NULL,
  slot        INTEGER NOT NULL,
  done        INTEGER NOT NULL DEFAULT 0,
  beyond      TEXT NOT NULL DEFAULT '[]',
  rev         INTEGER NOT NULL DEFAULT 0,
  owner       TEXT,
  lease_until REAL NOT NULL DEFAULT 0,
  PRIMARY KEY (reader, slot)
) WITHOUT ROWID;
