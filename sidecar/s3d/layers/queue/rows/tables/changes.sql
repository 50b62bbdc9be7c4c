-- The write queue's tables. Everything that is kept in memory is a cache of them (SEMANTICS Q-13).

CREATE TABLE change (
    seq        INTEGER PRIMARY KEY AUTOINCREMENT, -- order of acknowledgement
    since      INTEGER,                           -- the oldest seq that it superseded; NULL: none. Barriers wait for it by that
    bucket     TEXT NOT NULL,
    key        TEXT NOT NULL,                     -- the client's bytes, as UTF-8
    identity   TEXT NOT NULL DEFAULT '',          -- who wrote it; pushed under the same
    op         TEXT NOT NULL,                     -- put, delete, tag, complete; through: the turn of a request that is written through
    state      TEXT NOT NULL,                     -- waiting, pushing, in_doubt, held, parked, superseded, quarantined; settled: kept for a while (Q-3)
    members    TEXT NOT NULL DEFAULT '{}',        -- JSON: the request headers that travel with it, lower-case name to value
    size       INTEGER NOT NULL DEFAULT 0,        -- bytes of the body
    etag       TEXT NOT NULL DEFAULT '',          -- as acknowledged, without quotes; for a single put the body's MD5
    acked_at   REAL NOT NULL,                     -- the time of day that the clock showed (Unix time): Last-Modified while pending, and for nothing else
    base_etag  TEXT,                              -- ETag that this gateway last saw for the key; '': no object, '?': one of ours, NULL: never looked
    attempts   INTEGER NOT NULL DEFAULT 0,
    next_at    REAL NOT NULL,                     -- steady time before which it is not pushed; settled: when that was
    attempt_at REAL,                              -- steady time of the latest attempt
    code       TEXT NOT NULL DEFAULT '',          -- S3 error code of the latest attempt
    reason     TEXT NOT NULL DEFAULT '',          -- the same in words
    file       TEXT,                              -- id of the body's file; NULL: in the row, or none
    inline     BLOB,                              -- the body itself where it is small
    upload     TEXT,                              -- complete: the upload whose parts are the body; else NULL
    late_writes TEXT NOT NULL DEFAULT '[]',       -- JSON: [ETag, steady time] of attempts at this key that may still arrive (Q-3)
    rule       TEXT NOT NULL DEFAULT '',          -- held: the rule or tag that holds it
    refusals   INTEGER NOT NULL DEFAULT 0,        -- attempts in a row that met a 4xx which no row of the table of errors names
    ordered    INTEGER NOT NULL DEFAULT 0,        -- 1: it took the place of no older change, each of which is a version (Q-14)
    queued_at  REAL,                              -- steady time of the acknowledgement, ages go by it; NULL: before version 4, acked_at is
    after      INTEGER,                           -- seq of a change that must be delivered before it, and is not yet (order.sql); NULL: none
    conflict   TEXT NOT NULL DEFAULT '',          -- Park or Overwrite: what becomes of it where somebody else wrote the key; '': as the settings say
    always     INTEGER NOT NULL DEFAULT 0,        -- 1: it is pushed on condition however short it waited
    origin     TEXT NOT NULL DEFAULT '',          -- which part of s3d made it: sync:NAME, mount; '': a client
    trace      TEXT NOT NULL DEFAULT '',          -- traceparent of each recorded request that it is to deliver, with blanks between; '': none
    judged     INTEGER NOT NULL DEFAULT 1,        -- 0: the policy has not said yet whether it may leave; 1: it may, or nobody is asked; 2: it may not; 3: it might not, and is asked about anew (F-3)
    removes    TEXT NOT NULL DEFAULT ''           -- delete: JSON of what the last put of its key said, members and size; '': not known (F-5b)
);
-- One attempt of a key at a time: an order that the remote could see otherwise is impossible in the table already.
CREATE UNIQUE INDEX change_claim ON change (bucket, key) WHERE state IN ('pushing', 'in_doubt');
CREATE INDEX change_key ON change (bucket, key, seq);
CREATE INDEX change_since ON change (bucket, coalesce(since, seq))
    WHERE op <> 'through' AND state <> 'superseded' AND state <> 'settled';
CREATE INDEX change_settled ON change (next_at) WHERE state = 'settled';
-- What may be claimed, by lane; slow is what is large or was tried before (the literal is claims.LARGE_BYTES).
CREATE INDEX change_due ON change (bucket, identity, (size > 8388608 OR attempts > 0), next_at, seq)
    WHERE state = 'waiting' AND op <> 'through' AND after IS NULL AND judged = 1;
CREATE INDEX change_unjudged ON change (judged, state, seq, size) WHERE judged <> 1;
CREATE INDEX change_in_doubt ON change (next_at) WHERE state = 'in_doubt';
CREATE INDEX change_kept ON change (seq) WHERE state IN ('held', 'parked', 'superseded', 'quarantined');
CREATE INDEX change_held ON change (bucket, seq) WHERE state = 'held';
CREATE INDEX change_age ON change (coalesce(queued_at, acked_at))
    WHERE state IN ('waiting', 'pushing', 'in_doubt') AND after IS NULL;
CREATE INDEX change_turn ON change (seq) WHERE op = 'through';
CREATE INDEX change_file ON change (file) WHERE file IS NOT NULL;

-- What is pending by state, so that no count ever walks the changes. A turn is not a change.
CREATE TABLE tally (
    state   TEXT PRIMARY KEY,
    changes INTEGER NOT NULL,
    bytes   INTEGER NOT NULL
) WITHOUT ROWID;
INSERT INTO tally VALUES ('waiting', 0, 0), ('pushing', 0, 0), ('in_doubt', 0, 0), ('held', 0, 0), ('parked', 0, 0),
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
    name  TEXT PRIMARY KEY,                       -- remote: the endpoint that the changes belong to; honoured: conditions on a put; bodies: their label; push filter: the one in force, and at start: what the start-up values said then; runs: those whose bodies may be known here
    value TEXT NOT NULL
) WITHOUT ROWID;
