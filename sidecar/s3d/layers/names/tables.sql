-- What the remote has shown. Everything in here can be learnt again.

CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
-- endpoint: whose names these are. boot, ahead, seen: the steady clock of all times in here (decision 15).

CREATE TABLE view (
  id        INTEGER PRIMARY KEY,
  identity  TEXT NOT NULL,
  bucket    TEXT NOT NULL,
  delimiter TEXT NOT NULL,
  folder    TEXT NOT NULL,  -- the prefix up to which names are not rolled up
  members   TEXT NOT NULL,  -- what else the request says that may change its answer
  used      REAL NOT NULL,  -- when it was learnt from or answered from last
  UNIQUE (bucket, identity, delimiter, folder, members)
);

CREATE TABLE page (
  id    INTEGER PRIMARY KEY,
  view  INTEGER NOT NULL,
  low   TEXT NOT NULL,     -- all names from here on are known,
  high  TEXT,              -- up to and without this one; NULL: to the end
  seen  REAL NOT NULL,     -- when the remote showed it
  seq   INTEGER NOT NULL,  -- the number of the last change before it was asked for
  names INTEGER NOT NULL,  -- how many are in data
  data  BLOB NOT NULL      -- the entries; what lies outside of low and high does not count
);
CREATE INDEX page_span ON page (view, low, high);

CREATE TABLE cursor (
  bucket TEXT NOT NULL,
  cursor BLOB NOT NULL,    -- a digest of a continuation token, or of a marker, of the remote's
  low    TEXT NOT NULL,    -- the least name behind it
  seen   REAL NOT NULL,
  PRIMARY KEY (bucket, cursor)
) WITHOUT ROWID;
CREATE INDEX cursor_age ON cursor (seen);

CREATE TABLE outcome (
  bucket TEXT NOT NULL,
  key    TEXT NOT NULL,
  seq    INTEGER NOT NULL, -- its number; it counts for pages of a lower one
  object TEXT,             -- what is there since; NULL: nothing
  PRIMARY KEY (bucket, key)
) WITHOUT ROWID;

CREATE TABLE doubt (
  bucket   TEXT NOT NULL,
  key      TEXT NOT NULL,  -- a call may have changed it, and nobody knows how
  identity TEXT NOT NULL,  -- whose call it was
  seq      INTEGER NOT NULL,
  PRIMARY KEY (bucket, key)
) WITHOUT ROWID;

CREATE TABLE head (
  bucket   TEXT NOT NULL,
  key      TEXT NOT NULL,
  identity TEXT NOT NULL,
  members  TEXT NOT NULL,
  headers  TEXT NOT NULL,
  seen     REAL NOT NULL,
  PRIMARY KEY (bucket, key, identity, members)
) WITHOUT ROWID;
CREATE INDEX head_age ON head (seen);
