-- Queries of holds.py: what the tags of buckets say of the delivery.

-- name: upload
-- What the tag of a bucket says.
SELECT upload FROM hold WHERE bucket = ?

-- name: filter
-- The filter of the push, as text.
SELECT value FROM meta WHERE name = 'push filter'

-- name: rules
-- What the tag of a bucket says, and the filter of the push; NULL where there is none.
SELECT (SELECT upload FROM hold WHERE bucket = ?), (SELECT value FROM meta WHERE name = 'push filter')

-- name: set_filter
-- Put a filter in force.
INSERT OR REPLACE INTO meta (name, value) VALUES ('push filter', ?)

-- name: filter_at_start
-- What the start-up values said when it was put in force, as text.
SELECT value FROM meta WHERE name = 'push filter at start'

-- name: set_filter_at_start
-- Note what the start-up values say.
INSERT OR REPLACE INTO meta (name, value) VALUES ('push filter at start', ?)

-- name: last_put
-- What is known of a key, newest first.
SELECT op, CAST(members AS BLOB), size, CAST(removes AS BLOB) FROM change WHERE bucket = ? AND key = ?
    AND op <> 'through' AND state <> 'superseded' ORDER BY seq DESC

-- name: doubt_all
-- Note of each bucket in which something waits or is held that it is to be judged anew.
INSERT OR IGNORE INTO unjudged (bucket)
    SELECT DISTINCT bucket FROM change WHERE state IN ('waiting', 'held') AND op <> 'through'

-- name: rule_by
-- The rule by which a change is held.
SELECT rule FROM change WHERE seq = ?

-- name: kept_back
-- What does not move by itself: changes and bytes.
SELECT sum(changes), sum(bytes) FROM tally WHERE state IN ('held', 'parked')

-- name: waiting
-- What waits for its turn, or for a verdict: changes and bytes.
SELECT sum(changes), sum(bytes) FROM tally WHERE state = 'waiting'

-- name: unjudged
-- Buckets in which something is to be judged anew.
SELECT bucket FROM unjudged ORDER BY bucket

-- name: remember
-- Remember the tag of a bucket.
INSERT OR REPLACE INTO hold (bucket, upload, asked_at) VALUES (?, ?, ?)

-- name: doubt
-- Note that what waits in a bucket is to be judged anew.
INSERT OR IGNORE INTO unjudged (bucket) VALUES (?)

-- name: doubted
-- Whether that is so.
SELECT 1 FROM unjudged WHERE bucket = ?

-- name: judged
-- Note that all that waits in a bucket was judged.
DELETE FROM unjudged WHERE bucket = ?

-- name: remember_tags
-- Remember all tags of a bucket: a JSON object.
INSERT OR REPLACE INTO bucket_tag (bucket, tags) VALUES (?, ?)

-- name: forget_tags
-- Forget them: nobody may know them any more.
DELETE FROM bucket_tag WHERE bucket = ?

-- name: tags
-- All tags of a bucket.
SELECT tags FROM bucket_tag WHERE bucket = ?

-- name: asked_at
-- When the tags of a bucket were asked for last.
SELECT asked_at FROM hold WHERE bucket = ?

-- name: long_ago
-- Buckets whose tags were last asked for before a moment.
SELECT bucket FROM hold WHERE asked_at < ? LIMIT ?
