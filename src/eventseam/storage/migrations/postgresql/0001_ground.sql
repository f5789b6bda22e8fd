-- The journal. Its first seven columns are the public interface: any program may insert the four without defaults.
-- Never give `x`, `era` or `position`: they tell readers which transaction a row belongs to, and a wrong one is lost.
CREATE TABLE event_outbox (
  id             bigserial PRIMARY KEY,
  aggregate_type text NOT NULL CONSTRAINT aggregate_type_is_a_channel_name CHECK (octet_length(aggregate_type) BETWEEN 1 AND 128),
  aggregate_id   text NOT NULL CONSTRAINT aggregate_id_is_a_key_of_1_to_512_characters CHECK (length(aggregate_id) BETWEEN 1 AND 512),
  event_type     text NOT NULL CONSTRAINT event_type_has_1_to_256_characters CHECK (octet_length(event_type) BETWEEN 1 AND 256),
  payload        jsonb CONSTRAINT payload_has_at_most_4_MiB CHECK (pg_column_size(payload) <= 4194304 + 65536),
  created_at     timestamptz NOT NULL DEFAULT now(),
  published_at   timestamptz,
  message_id     uuid NOT NULL DEFAULT gen_random_uuid(),
  era            smallint NOT NULL DEFAULT 1,
  x              xid8 NOT NULL DEFAULT pg_current_xact_id(),
  slot           smallint NOT NULL GENERATED ALWAYS AS (get_byte(decode(md5(aggregate_id), 'hex'), 0) & 15) STORED,
  position       bigint NOT NULL GENERATED ALWAYS AS IDENTITY,
  source         text CONSTRAINT source_has_at_most_4096_bytes CHECK (octet_length(source) <= 4096),
  correlation_id text CONSTRAINT correlation_id_has_at_most_4096_bytes CHECK (octet_length(correlation_id) <= 4096),
  causation_id   text CONSTRAINT causation_id_has_at_most_4096_bytes CHECK (octet_length(causation_id) <= 4096),
  trace          text CONSTRAINT trace_has_at_most_4096_bytes CHECK (octet_length(trace) <= 4096),
  content_type   text CONSTRAINT content_type_has_at_most_4096_bytes CHECK (octet_length(content_type) <= 4096),
  schema_id      text CONSTRAINT schema_id_has_at_most_4096_bytes CHECK (octet_length(schema_id) <= 4096),
  details        text CONSTRAINT details_has_at_most_4096_bytes CHECK (octet_length(details) <= 4096),
  body           bytea CONSTRAINT body_has_at_most_4_MiB CHECK (octet_length(body) <= 4194304),
  CONSTRAINT a_message_has_a_payload_or_a_body CHECK (payload IS NOT NULL OR body IS NOT NULL)
);
CREATE INDEX event_outbox_tail ON event_outbox (era, x, position);
CREATE UNIQUE INDEX event_outbox_position ON event_outbox (position);

-- A row whose x is not its own transaction's would lie in the past of readers: it would never be delivered.
CREATE FUNCTION eventseam_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  RAISE EXCEPTION 'event_outbox.% : x, era and position are given by the database', TG_ARGV[0]
    USING HINT = 'Leave them out of the INSERT, and never UPDATE them.', ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER event_outbox_x_is_its_own BEFORE INSERT ON event_outbox FOR EACH ROW
  WHEN (NEW.x IS DISTINCT FROM pg_current_xact_id() OR NEW.era IS DISTINCT FROM 1)
  EXECUTE FUNCTION eventseam_refuse('x');
CREATE TRIGGER event_outbox_place_is_kept BEFORE UPDATE OF x, era, position ON event_outbox FOR EACH ROW
  EXECUTE FUNCTION eventseam_refuse('position');

-- One row: the era of the journal, bumped by `eventseam journal rebase`, and the cluster whose transaction numbers it has.
CREATE TABLE eventseam_journal (
  only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
  era      smallint NOT NULL DEFAULT 1,
  cluster  text NOT NULL
);
INSERT INTO eventseam_journal (cluster) SELECT system_identifier::text FROM pg_control_system();

-- The inbox: what a handler has applied, or keeps in unsettled.
CREATE TABLE processed_events (
  event_id     text NOT NULL,
  service      text NOT NULL,
  handler      text NOT NULL,
  processed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (service, handler, event_id)
);
CREATE INDEX processed_events_age ON processed_events USING brin (processed_at) WITH (pages_per_range = 32);

-- What did not succeed yet. Within (service, handler, lane) the row with the smallest id is the head: retrying or dead.
-- All others wait behind it.
CREATE TABLE unsettled (
  id            bigserial PRIMARY KEY,
  service       text NOT NULL,
  handler       text NOT NULL,
  lane          text NOT NULL,
  slot          smallint NOT NULL DEFAULT 0,
  message_id    text NOT NULL,
  state         text NOT NULL CHECK (state IN ('retrying', 'waiting', 'dead')),
  attempts      integer NOT NULL DEFAULT 0,
  next_at       double precision NOT NULL,
  since         double precision NOT NULL,
  error_class   text,
  error_message text,
  error_trace   text,
  position      bigint NOT NULL,
  envelope      text NOT NULL,
  body          bytea NOT NULL,
  UNIQUE (service, handler, message_id)
);
CREATE INDEX unsettled_lane ON unsettled (service, handler, lane, id);
CREATE INDEX unsettled_due ON unsettled (service, handler, next_at) WHERE state = 'retrying';

-- One row per reader and slot. Everything visible in s0 is finished; within a difference that did not fit one page,
-- s1 is its end, done how far it is finished and hi its last position. beyond: finished out of order. rev: the fence.
CREATE TABLE positions (
  reader      text NOT NULL,
  slot        smallint NOT NULL,
  era         smallint NOT NULL DEFAULT 1,
  s0          pg_snapshot NOT NULL DEFAULT '1:1:',
  s1          pg_snapshot,
  done        bigint,
  hi          bigint,
  beyond      jsonb NOT NULL DEFAULT '[]',
  rev         bigint NOT NULL DEFAULT 0,
  owner       text,
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  moved_at    timestamptz,
  gap         timestamptz,
  PRIMARY KEY (reader, slot),
  CHECK ((s1 IS NULL) = (done IS NULL) AND (s1 IS NULL) = (hi IS NULL))
) WITH (fillfactor = 50);

-- The processes that share a reader's slots.
CREATE TABLE members (
  reader text NOT NULL,
  owner  text NOT NULL,
  until  timestamptz NOT NULL,
  PRIMARY KEY (reader, owner)
);

-- Whether a reader's slot has finished a row: what lag, retention and `wait_for` ask.
CREATE FUNCTION eventseam_has_finished(p positions, o_era smallint, o_x xid8, o_position bigint) RETURNS boolean
LANGUAGE sql IMMUTABLE AS $$
  SELECT o_era < p.era OR (o_era = p.era AND (
    pg_visible_in_snapshot(o_x, p.s0)
    OR (p.s1 IS NOT NULL AND o_position <= p.done AND pg_visible_in_snapshot(o_x, p.s1))
    OR p.beyond @> to_jsonb(o_position)))
$$;
