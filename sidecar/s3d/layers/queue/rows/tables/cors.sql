-- CORS rules of buckets, as the remote showed them last (SEMANTICS R-12b). No row: none are known.
CREATE TABLE cors (
    bucket   TEXT PRIMARY KEY,
    rules    TEXT NOT NULL,                       -- JSON: a CORSConfiguration by botocore's member names
    asked_at REAL NOT NULL                        -- Unix time
) WITHOUT ROWID;
