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
    queued_at  REAL                               -- steady time of the acknowledgement, ages go by it; NULL: before version 4, acked_at is
);
-- One attempt of a key at a time: an order that the remote could see otherwise is impossible in the table already.
CREATE UNIQUE INDEX change_claim ON change (bucket, key) WHERE state IN ('pushing', 'in_doubt');
CREATE INDEX change_key ON change (bucket, key, seq);
CREATE INDEX change_since ON change (bucket, coalesce(since, seq))
    WHERE op <> 'through' AND state <> 'superseded' AND state <> 'settled';
CREATE INDEX change_settled ON change (next_at) WHERE state = 'settled';
-- What may be claimed, by lane; slow is what is large or was tried before (the literal is claims.LARGE).
CREATE INDEX change_due ON change (bucket, identity, (size > 8388608 OR attempts > 0), next_at, seq)
    WHERE state = 'waiting' AND op <> 'through';
CREATE INDEX change_in_doubt ON change (next_at) WHERE state = 'in_doubt';
CREATE INDEX change_kept ON change (seq) WHERE state IN ('held', 'parked', 'superseded', 'quarantined');
CREATE INDEX change_held ON change (bucket, seq) WHERE state = 'held';
CREATE INDEX change_age ON change (coalesce(queued_at, acked_at)) WHERE state IN ('waiting', 'pushing', 'in_doubt');
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
    name  TEXT PRIMARY KEY,                       -- remote: the endpoint that the changes belong to; honoured: conditions on a put; bodies: their label; runs: those whose bodies may be known here
    value TEXT NOT NULL
) WITHOUT ROWID;

-- Lanes that a remote refuses (SEMANTICS Q-8). A lane without a row is open.
CREATE TABLE lane (
    bucket   TEXT NOT NULL,
    identity TEXT NOT NULL,
    state    TEXT NOT NULL,                       -- trying: other changes are tried, to tell the lane from the object; paused
    since    REAL NOT NULL,                       -- steady time of the first refusal
    code     TEXT NOT NULL,                       -- S3 error code of the latest refusal
    reason   TEXT NOT NULL,                       -- the same in words
    attempts INTEGER NOT NULL DEFAULT 0,          -- probes that were refused since the lane is paused
    probe_at REAL NOT NULL,                       -- steady time before which there is no other probe
    probe    INTEGER,                             -- seq of the change that is under way as the probe; NULL: none
    kinds    TEXT NOT NULL DEFAULT '[]',          -- JSON: the kinds of change that were refused
    PRIMARY KEY (bucket, identity)
) WITHOUT ROWID;
-- Multipart uploads that are staged here (SEMANTICS Q-16).

CREATE TABLE upload (
    id         TEXT PRIMARY KEY,                  -- as the client has it; says nothing and cannot be guessed
    bucket     TEXT NOT NULL,
    key        TEXT NOT NULL,
    identity   TEXT NOT NULL DEFAULT '',          -- who began it
    state      TEXT NOT NULL,                     -- open, spilling, spilled, complete, landed, doomed, finished; quarantined: a row of it cannot be read
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
    landed  TEXT,                                 -- the remote's ETag of it; NULL: the remote does not have it
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
        state = iif(state = 'landed' OR (remote IS NULL AND asked_at IS NULL), 'finished', 'doomed') WHERE id = OLD.upload;
END;

-- Uploads at the remote that nobody goes on with, to be aborted: of changes that are parked or quarantined with their parts.
CREATE TABLE stray (
    bucket   TEXT NOT NULL,
    remote   TEXT NOT NULL,                       -- the remote's id
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

-- What the tags of buckets say of the delivery to them (SEMANTICS Q-11). No row: nobody has asked yet.
CREATE TABLE hold (
    bucket   TEXT PRIMARY KEY,
    upload   TEXT NOT NULL,                       -- value of the bucket's tag s3d.upload; '': it has none
    asked_at REAL NOT NULL                        -- steady time
) WITHOUT ROWID;
-- Shapes of writes that the remote has judged (SEMANTICS Q-14). The first contrary answer makes a shape a doubted one.
CREATE TABLE shape (
    bucket     TEXT NOT NULL,
    identity   TEXT NOT NULL,                     -- who writes
    operation  TEXT NOT NULL,                     -- of the push: PutObject, DeleteObject, ...
    members    TEXT NOT NULL,                     -- the members in use that need a right or a feature of their own, sorted
    verdict    TEXT NOT NULL,                     -- proven: such writes are queued; doubted: the next one goes through
    learned_at REAL NOT NULL,                     -- Unix time
    PRIMARY KEY (bucket, identity, operation, members)
) WITHOUT ROWID;
-- The steady clock that all times of the tables are told by, but those that say otherwise (SEMANTICS D-10). One row.
CREATE TABLE clock (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    boot  TEXT NOT NULL,                          -- the start of the machine within which the clock goes on
    ahead REAL NOT NULL,                          -- seconds from the machine's own count since then to the steady clock
    seen  REAL NOT NULL                           -- steady time that it is known to have shown
);
-- Which change of a key is the truth (SEMANTICS Q-9b): of the table itself, whatever happened in whatever order.
-- A change that is held, parked or quarantined and has a newer put, delete or completed upload of its key is superseded,
-- in the transaction in which either comes to be. A held one is dropped then, as one that waits is (Q-2); of those that
-- stay for a person only the newest of a key does, but for damaged ones (D-4).

-- What a change that is superseded knew, the next one of its key knows from then on: the attempts that may still arrive
-- (Q-3), and that barriers which waited for it wait for this one.
CREATE TRIGGER truth_handed AFTER UPDATE OF state ON change WHEN NEW.state = 'superseded' AND OLD.state <> 'superseded' BEGIN
    UPDATE change SET since = min(coalesce(since, seq), coalesce(NEW.since, NEW.seq)), late_writes = (
        SELECT json_group_array(json_array(etag, at)) FROM (
            SELECT value ->> 0 AS etag, max(value ->> 1) AS at FROM (
                SELECT value FROM json_each(iif(json_valid(change.late_writes), change.late_writes, '[]'))
                UNION ALL SELECT value FROM json_each(iif(json_valid(NEW.late_writes), NEW.late_writes, '[]'))
            ) GROUP BY etag
        )
    )
    WHERE seq = (SELECT min(seq) FROM change WHERE bucket = NEW.bucket AND key = NEW.key AND seq > NEW.seq
        AND op IN ('put', 'delete', 'complete') AND state <> 'superseded');
END;

-- Superseded changes that nobody keeps. The rule is that of a held one.
CREATE VIEW spent AS SELECT seq, bucket, key FROM change
    WHERE state = 'superseded' AND code <> 'CorruptBody' AND (rule <> '' OR EXISTS (
        SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
        AND newer.seq > change.seq AND newer.state = 'superseded' AND newer.code <> 'CorruptBody' AND newer.rule = ''
    ));

CREATE TRIGGER truth_in AFTER INSERT ON change WHEN NEW.op IN ('put', 'delete', 'complete') AND EXISTS (
    SELECT 1 FROM change WHERE bucket = NEW.bucket AND key = NEW.key AND seq < NEW.seq
    AND state IN ('held', 'parked', 'quarantined')
) BEGIN
    UPDATE change SET state = 'superseded' WHERE bucket = NEW.bucket AND key = NEW.key AND seq < NEW.seq
        AND state IN ('held', 'parked', 'quarantined');
    DELETE FROM change WHERE seq IN (SELECT seq FROM spent WHERE bucket = NEW.bucket AND key = NEW.key);
END;
CREATE TRIGGER truth_moved AFTER UPDATE OF state ON change WHEN NEW.state IN ('held', 'parked', 'quarantined') AND EXISTS (
    SELECT 1 FROM change WHERE bucket = NEW.bucket AND key = NEW.key AND seq > NEW.seq
    AND op IN ('put', 'delete', 'complete')
) BEGIN
    UPDATE change SET state = 'superseded' WHERE seq = NEW.seq;
    DELETE FROM change WHERE seq IN (SELECT seq FROM spent WHERE bucket = NEW.bucket AND key = NEW.key);
END;
-- Buckets whose tags say something else since, and whose changes are not all judged by it yet (SEMANTICS Q-11).
CREATE TABLE unjudged (bucket TEXT PRIMARY KEY) WITHOUT ROWID;
-- Rows of changes that could not be read, as they were found (SEMANTICS D-4). What they became is in `change`.
CREATE TABLE damaged (
    seq     INTEGER PRIMARY KEY,                  -- of the change
    found   REAL NOT NULL,                        -- Unix time
    reason  TEXT NOT NULL,                        -- which columns cannot be read, and why
    remains BLOB NOT NULL,                        -- each column of the row as it stood there: name, =, literal of SQL, end of line
    told    INTEGER NOT NULL DEFAULT 0            -- 1: the log and the metric know of it
);
CREATE INDEX damaged_told ON damaged (seq) WHERE told = 0;
CREATE TRIGGER damaged_gone AFTER DELETE ON change WHEN OLD.code = 'CorruptRow' BEGIN
    DELETE FROM damaged WHERE seq = OLD.seq;
END;
-- Body files that nothing refers to any more (SEMANTICS D-2). A row is written in the transaction that lets go of the file,
-- and goes when the file is deleted: whatever crashes between, the next look at this table deletes it.
CREATE TABLE garbage (
    file    TEXT PRIMARY KEY,
    upload  TEXT NOT NULL                         -- whose readers must be gone first; '': nobody's
) WITHOUT ROWID;
CREATE TRIGGER garbage_of_change AFTER DELETE ON change WHEN OLD.file IS NOT NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, '');
END;
CREATE TRIGGER garbage_of_emptied_change AFTER UPDATE OF file ON change WHEN OLD.file IS NOT NULL AND NEW.file IS NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, '');
END;
CREATE TRIGGER garbage_of_part AFTER DELETE ON part WHEN OLD.file IS NOT NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, OLD.upload);
END;
CREATE TRIGGER garbage_of_emptied_part AFTER UPDATE OF file ON part WHEN OLD.file IS NOT NULL AND NEW.file IS NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, OLD.upload);
END;
-- What the queue takes of the disk (SEMANTICS Q-7), kept by triggers, so that no count ever walks the rows: each row with
-- what it weighs in its table and its indexes, headers and small bodies included, and each body's file in whole blocks.
-- Every state counts, also a change that is only kept. One row.
CREATE TABLE account (
    one   INTEGER PRIMARY KEY CHECK (one = 1),
    bytes INTEGER NOT NULL
);
INSERT INTO account VALUES (1, 0);

CREATE TRIGGER account_change_in AFTER INSERT ON change BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.late_writes AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096);
END;
CREATE TRIGGER account_change_out AFTER DELETE ON change BEGIN
    UPDATE account SET bytes = bytes - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.late_writes AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;
CREATE TRIGGER account_change_new AFTER UPDATE OF members, late_writes, file, inline, size ON change BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.late_writes AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096)
        - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.late_writes AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;

CREATE TRIGGER account_part_in AFTER INSERT ON part BEGIN
    UPDATE account SET bytes = bytes + 320 + length(CAST(NEW.sums AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096);
END;
CREATE TRIGGER account_part_out AFTER DELETE ON part BEGIN
    UPDATE account SET bytes = bytes - (320 + length(CAST(OLD.sums AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;
CREATE TRIGGER account_part_new AFTER UPDATE OF sums, file, inline, size ON part BEGIN
    UPDATE account SET bytes = bytes + 320 + length(CAST(NEW.sums AS BLOB)) + coalesce(length(CAST(NEW.inline AS BLOB)), 0)
        + iif(NEW.file IS NULL, 0, (min(max(CAST(NEW.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096)
        - (320 + length(CAST(OLD.sums AS BLOB)) + coalesce(length(CAST(OLD.inline AS BLOB)), 0)
        + iif(OLD.file IS NULL, 0, (min(max(CAST(OLD.size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096));
END;

CREATE TRIGGER account_upload_in AFTER INSERT ON upload BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.answer AS BLOB));
END;
CREATE TRIGGER account_upload_out AFTER DELETE ON upload BEGIN
    UPDATE account SET bytes = bytes - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.answer AS BLOB)));
END;
CREATE TRIGGER account_upload_new AFTER UPDATE OF members, answer ON upload BEGIN
    UPDATE account SET bytes = bytes + 640 + length(CAST(NEW.bucket AS BLOB)) + length(CAST(NEW.key AS BLOB)) + length(CAST(NEW.members AS BLOB))
        + length(CAST(NEW.answer AS BLOB))
        - (640 + length(CAST(OLD.bucket AS BLOB)) + length(CAST(OLD.key AS BLOB)) + length(CAST(OLD.members AS BLOB))
        + length(CAST(OLD.answer AS BLOB)));
END;

-- The same by walking all rows: after a migration, and where rows were damaged.
CREATE VIEW account_anew AS SELECT CAST(total(bytes) AS INTEGER) AS bytes FROM (
    SELECT 640 + length(CAST(bucket AS BLOB)) + length(CAST(key AS BLOB)) + length(CAST(members AS BLOB))
        + length(CAST(late_writes AS BLOB)) + coalesce(length(CAST(inline AS BLOB)), 0)
        + iif(file IS NULL, 0, (min(max(CAST(size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096) AS bytes FROM change
    UNION ALL SELECT 320 + length(CAST(sums AS BLOB)) + coalesce(length(CAST(inline AS BLOB)), 0)
        + iif(file IS NULL, 0, (min(max(CAST(size AS INTEGER), 0), 1 << 43) + 4095) / 4096 * 4096) FROM part
    UNION ALL SELECT 640 + length(CAST(bucket AS BLOB)) + length(CAST(key AS BLOB)) + length(CAST(members AS BLOB))
        + length(CAST(answer AS BLOB)) FROM upload
);
