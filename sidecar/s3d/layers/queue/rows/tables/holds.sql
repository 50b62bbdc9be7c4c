
-- What the tags of buckets say of the delivery to them (SEMANTICS Q-11). No row: nobody has asked yet.
CREATE TABLE hold (
    bucket   TEXT PRIMARY KEY,
    upload   TEXT NOT NULL,                       -- value of the bucket's tag s3d.upload; '': it has none
    asked_at REAL NOT NULL                        -- steady time
) WITHOUT ROWID;
