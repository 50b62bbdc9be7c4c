-- Multipart uploads as version 2 brought them; version 6 renamed states, a column and a table.

CREATE TABLE upload (
    id         TEXT PRIMARY KEY,
    bucket     TEXT NOT NULL,
    key        TEXT NOT NULL,
    identity   TEXT NOT NULL DEFAULT '',
    state      TEXT NOT NULL,
    members    TEXT NOT NULL DEFAULT '{}',
    algorithm  TEXT NOT NULL DEFAULT '',
    kind       TEXT NOT NULL DEFAULT '',
    began_at   REAL NOT NULL,
    touched_at REAL NOT NULL,
    parts      INTEGER NOT NULL DEFAULT 0,
    bytes      INTEGER NOT NULL DEFAULT 0,
    remote     TEXT,
    asked_at   REAL,
    answer     TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE INDEX upload_key ON upload (bucket, key, id) WHERE state IN ('open', 'spilling', 'spilled');
CREATE INDEX upload_state ON upload (state, touched_at, parts, bytes);
CREATE INDEX upload_remote ON upload (bucket, remote) WHERE remote IS NOT NULL;

CREATE TABLE part (
    upload  TEXT NOT NULL,
    number  INTEGER NOT NULL,
    size    INTEGER NOT NULL,
    etag    TEXT NOT NULL,
    sums    TEXT NOT NULL DEFAULT '{}',
    at      REAL NOT NULL,
    file    TEXT,
    inline  BLOB,
    landed  TEXT,
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

CREATE TRIGGER upload_of_change AFTER DELETE ON change WHEN OLD.upload IS NOT NULL BEGIN
    DELETE FROM part WHERE upload = OLD.upload;
    UPDATE upload SET touched_at = 0,
        state = iif(state = 'landed' OR (remote IS NULL AND asked_at IS NULL), 'finished', 'doomed') WHERE id = OLD.upload;
END;

CREATE TABLE stray (
    bucket   TEXT NOT NULL,
    remote   TEXT NOT NULL,
    key      TEXT NOT NULL,
    identity TEXT NOT NULL,
    PRIMARY KEY (bucket, remote)
) WITHOUT ROWID;
CREATE TRIGGER stray_of_change AFTER UPDATE OF state ON change
WHEN NEW.upload IS NOT NULL AND NEW.state IN ('parked', 'quarantined', 'superseded') AND OLD.state <> NEW.state BEGIN
    UPDATE part SET landed = NULL WHERE upload = NEW.upload AND landed IS NOT NULL;
    INSERT OR IGNORE INTO stray SELECT bucket, remote, key, identity FROM upload
        WHERE id = NEW.upload AND remote IS NOT NULL;
    UPDATE upload SET remote = NULL WHERE id = NEW.upload AND remote IS NOT NULL;
END;
