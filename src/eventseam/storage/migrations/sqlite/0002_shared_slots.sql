-- The processes that share a reader's slots.
CREATE TABLE members (
  reader TEXT NOT NULL,
  owner  TEXT NOT NULL,
  until  REAL NOT NULL,
  PRIMARY KEY (reader, owner)
) WITHOUT ROWID;

-- The slot of a lane: whoever owns it brings its messages back.
ALTER TABLE unsettled ADD COLUMN slot INTEGER NOT NULL DEFAULT 0;
