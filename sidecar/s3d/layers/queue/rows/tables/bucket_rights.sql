-- Which identities the remote has shown a bucket (SEMANTICS A-8): that it is there is known to all, what one may do in it is
-- each identity's own. A row is dropped at the first contrary answer.
CREATE TABLE bucket_right (
    bucket   TEXT NOT NULL,
    identity TEXT NOT NULL,                       -- to whom it was shown, by an answer to a look or to a write
    seen_at  REAL NOT NULL,                       -- Unix time
    PRIMARY KEY (bucket, identity)
) WITHOUT ROWID;
