-- The write queue's tables. Everything that is kept in memory is a cache of them (SEMANTICS Q-13).

CREATE TABLE change (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of acknowledgement
    since      INTEGER,                           -- the oldest seq that it superseded; NULL: none. Barriers wait for it by that
    bucket     TEXT NOT NULL,
    key        TEXT NOT NULL,                     -- the client's bytes, as UTF-8
    identity   TEXT NOT NULL DEFAULT '',          -- who wrote it; pushed under the same
    op         TEXT NOT NULL,                     -- put, delete; through: the turn of a request that is written through
    state      TEXT NOT NULL,                     -- waiting, pushing, unknown, held, parked, superseded, quarantined
    members    TEXT NOT NULL DEFAULT '{}',        -- JSON: the request headers that travel with it, lower-case name to value
    size       INTEGER NOT NULL DEFAULT 0,        -- bytes of the body
    etag       TEXT NOT NULL DEFAULT '',          -- as acknowledged, without quotes; for a single put the body's MD5
    acked_at   REAL NOT NULL,                     -- Unix time; Last-Modified while pending
    base_etag  TEXT,                              -- ETag that this gateway last saw for the key; NULL: never saw one
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    REAL NOT NULL,                     -- Unix time before which it is not pushed
    attempt_at REAL,                              -- Unix time of the latest attempt
    code       TEXT NOT NULL DEFAULT '',          -- S3 error code of the latest attempt
    reason     TEXT NOT NULL DEFAULT '',          -- the same in words
    file       TEXT,                              -- id of the body's file; NULL: in the row, or none
    inline     BLOB                               -- the body itself where it is small
);
-- One attempt of a key at a time: an order that the remote could see otherwise is impossible in the table already.
CREATE UNIQUE INDEX change_claim ON change (bucket, key) WHERE state IN ('pushing', 'unknown');
CREATE INDEX change_key ON change (bucket, key, seq);
CREATE INDEX change_since ON change (bucket, coalesce(since, seq)) WHERE op <> 'through' AND state <> 'superseded';
CREATE INDEX change_due ON change (state, next_at, seq);
CREATE INDEX change_age ON change (acked_at) WHERE state IN ('waiting', 'pushing', 'unknown');
CREATE INDEX change_file ON change (file) WHERE file IS NOT NULL;

-- What is pending by state, so that no count ever walks the changes. A turn is not a change.
CREATE TABLE tally (
    state   TEXT PRIMARY KEY,
    changes INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO tally VALUES ('waiting', 0, 0), ('pushing', 0, 0), ('unknown', 0, 0), ('held', 0, 0), ('parked', 0, 0),
    ('superseded', 0, 0), ('quarantined', 0, 0);
CREATE TRIGGER tally_in AFTER INSERT ON change WHEN NEW.op <> 'through' BEGIN
    UPDATE tally SET changes = changes + 1, bytes = bytes + NEW.size WHERE state = NEW.state;
END;
CREATE TRIGGER tally_out AFTER DELETE ON change WHEN OLD.op <> 'through' BEGIN
    UPDATE tally SET changes = changes - 1, bytes = bytes - OLD.size WHERE state = OLD.state;
END;
CREATE TRIGGER tally_move AFTER UPDATE OF state ON change WHEN NEW.op <> 'through' AND NEW.state <> OLD.state BEGIN
    UPDATE tally SET changes = changes - 1, bytes = bytes - OLD.size WHERE state = OLD.state;
    UPDATE tally SET changes = changes + 1, bytes = bytes + NEW.size WHERE state = NEW.state;
END;

-- Buckets that were seen (SEMANTICS R-6). A row is dropped at the first contrary answer of the remote.
CREATE TABLE bucket (
    name     TEXT PRIMARY KEY,
    seen_at  REAL NOT NULL,                       -- Unix time of the look-up
    through  TEXT NOT NULL DEFAULT '',            -- why writes go through: versioned, locked, encrypted, etag; '': they are queued
    detail   TEXT NOT NULL DEFAULT ''             -- the remote's own word for it
) WITHOUT ROWID;

CREATE TABLE meta (
    name  TEXT PRIMARY KEY,                       -- remote: the endpoint that the changes belong to
    value TEXT NOT NULL
) WITHOUT ROWID;
