
-- All tags of buckets as they were told last (SEMANTICS F-5). No row: nobody has told them.
CREATE TABLE bucket_tag (
    bucket TEXT PRIMARY KEY,
    tags   TEXT NOT NULL                          -- JSON: names and values
) WITHOUT ROWID;
