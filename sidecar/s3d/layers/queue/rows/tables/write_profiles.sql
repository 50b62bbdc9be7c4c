-- Write profiles that the remote has judged (SEMANTICS Q-14). The first contrary answer makes a profile a doubted one.
CREATE TABLE write_profile (
    bucket     TEXT NOT NULL,
    identity   TEXT NOT NULL,                     -- who writes
    operation  TEXT NOT NULL,                     -- of the push: PutObject, DeleteObject, ...
    members    TEXT NOT NULL,                     -- the members in use that need a right or a feature of their own, sorted
    verdict    TEXT NOT NULL,                     -- proven: such writes are queued; doubted: the next one goes through
    learned_at REAL NOT NULL,                     -- Unix time
    PRIMARY KEY (bucket, identity, operation, members)
) WITHOUT ROWID;
