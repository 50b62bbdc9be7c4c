
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
