-- Multipart uploads that are staged here (SEMANTICS Q-16).

CREATE TABLE upload (
    id         TEXT PRIMARY KEY,                  -- as the client has it; says nothing and cannot be guessed
    bucket     TEXT NOT NULL,
    key        TEXT NOT NULL,
    identity   TEXT NOT NULL DEFAULT '',          -- who began it
    state      TEXT NOT NULL,                     -- open, spilling, spilled, complete, delivered, aborting, finished; quarantined: a row of it cannot be read
    members    TEXT NOT NULL DEFAULT '{}',        -- JSON: the headers of Create that travel with it
    algorithm  TEXT NOT NULL DEFAULT '',          -- of the checksums, lower-case; '': none was asked for
    kind       TEXT NOT NULL DEFAULT '',          -- COMPOSITE or FULL_OBJECT; '' without an algorithm
    began_at   REAL NOT NULL,                     -- Unix time; Initiated
    touched_at REAL NOT NULL,                     -- steady time of the latest part or change of state: what expires goes by it; 0: it has just ended
    parts      INTEGER NOT NULL DEFAULT 0,        -- parts whose bytes are here, kept by triggers
    bytes      INTEGER NOT NULL DEFAULT 0,        -- theirs
    remote     TEXT,                              -- id of the remote's upload that gets the parts; NULL: there is none
    asked_at   REAL,                              -- steady time before the remote was asked for one; NULL: never, or answered
    answer     TEXT NOT NULL DEFAULT ''           -- JSON: what Complete answered, for the client that asks again
) WITHOUT ROWID;
CREATE INDEX upload_key ON upload (bucket, key, id) WHERE state IN ('open', 'spilling', 'spilled');
CREATE INDEX upload_state ON upload (state, touched_at, parts, bytes);
CREATE INDEX upload_remote ON upload (bucket, remote) WHERE remote IS NOT NULL;

CREATE TABLE part (
    upload  TEXT NOT NULL,
    number  INTEGER NOT NULL,                     -- the client's
    size    INTEGER NOT NULL,                     -- in bytes; the boundary that the ETag depends on (Q-4)
    etag    TEXT NOT NULL,                        -- as answered, without quotes: the MD5, or the remote's own where it went through
    sums    TEXT NOT NULL DEFAULT '{}',           -- JSON: the headers that travel with it: checksums, payload hash, owner
    at      REAL NOT NULL,                        -- Unix time; LastModified
    file    TEXT,                                 -- id of the body's file; NULL: in the row, or at the remote alone
    inline  BLOB,                                 -- the body itself where it is small
    remote_etag TEXT,                              -- the remote's ETag of it; NULL: the remote does not have it
    PRIMARY KEY (upload, number)
) WITHOUT ROWID;
CREATE INDEX part_file ON part (file) WHERE file IS NOT NULL;
CREATE TRIGGER part_in AFTER INSERT ON part WHEN NEW.file IS NOT NULL OR NEW.inline IS NOT NULL BEGIN
    UPDATE upload SET parts = parts + 1, bytes = bytes + NEW.size WHERE id = NEW.upload;
END;
CREATE TRIGGER part_out AFTER DELETE ON part WHEN OLD.file IS NOT NULL OR OLD.inline IS NOT NULL BEGIN
    UPDATE upload SET parts = parts - 1, bytes = bytes - OLD.size WHERE id = OLD.upload;
END;
CREATE TRIGGER part_emptied AFTER UPDATE OF file, inline ON part
WHEN NEW.file IS NULL AND NEW.inline IS NULL AND (OLD.file IS NOT NULL OR OLD.inline IS NOT NULL) BEGIN
    UPDATE upload SET parts = parts - 1, bytes = bytes - OLD.size WHERE id = OLD.upload;
END;

-- However a completed change goes (settled, superseded, discarded), its parts go with it. SQL knows no steady time.
CREATE TRIGGER upload_of_change AFTER DELETE ON change WHEN OLD.upload IS NOT NULL BEGIN
    DELETE FROM part WHERE upload = OLD.upload;
    UPDATE upload SET touched_at = 0,
        state = iif(state = 'delivered' OR (remote IS NULL AND asked_at IS NULL), 'finished', 'aborting') WHERE id = OLD.upload;
END;

-- Uploads at the remote that nobody goes on with, to be aborted: of changes that are parked or quarantined with their parts.
CREATE TABLE orphan_upload (
    bucket   TEXT NOT NULL,
    remote   TEXT NOT NULL,                       -- the remote's id
    key      TEXT NOT NULL,
    identity TEXT NOT NULL,
    PRIMARY KEY (bucket, remote)
) WITHOUT ROWID;
CREATE TRIGGER orphan_upload_of_change AFTER UPDATE OF state ON change
WHEN NEW.upload IS NOT NULL AND NEW.state IN ('parked', 'quarantined', 'superseded') AND OLD.state <> NEW.state BEGIN
    UPDATE part SET remote_etag = NULL WHERE upload = NEW.upload AND remote_etag IS NOT NULL;
    INSERT OR IGNORE INTO orphan_upload SELECT bucket, remote, key, identity FROM upload
        WHERE id = NEW.upload AND remote IS NOT NULL;
    UPDATE upload SET remote = NULL WHERE id = NEW.upload AND remote IS NOT NULL;
END;
