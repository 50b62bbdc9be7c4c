-- Queries of holds.py: what the tags of buckets say of the delivery.

-- name: holds
-- Whether the tag of a bucket holds what is queued in it.
SELECT 1 FROM hold WHERE bucket = ? AND upload = 'false'

-- name: held_before
-- Whether the tag of a bucket held what was queued in it.
SELECT upload = 'false' FROM hold WHERE bucket = ?

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
