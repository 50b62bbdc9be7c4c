-- Queries of remote_facts.py: buckets, what kind of store the remote is, and the write profiles that it has judged.

-- name: bucket
-- What is remembered of a bucket.
SELECT through, detail FROM bucket WHERE name = ?

-- name: remember_bucket
-- Remember a bucket.
INSERT OR REPLACE INTO bucket (name, seen_at, through, detail) VALUES (?, ?, ?, ?)

-- name: forget_bucket
-- Forget a bucket, and who was shown it.
DELETE FROM bucket WHERE name = ?;
    DELETE FROM bucket_right WHERE bucket = ?

-- name: is_bucket_shown
-- Whether an identity was shown a bucket.
SELECT 1 FROM bucket_right WHERE bucket = ? AND identity = ?

-- name: shown_to
-- Identities that were shown a bucket.
SELECT identity FROM bucket_right WHERE bucket = ? ORDER BY identity LIMIT ?

-- name: show_bucket
-- Note that an identity was shown a bucket.
INSERT OR REPLACE INTO bucket_right (bucket, identity, seen_at) VALUES (?, ?, ?)

-- name: hide_bucket
-- Note that it is not any more.
DELETE FROM bucket_right WHERE bucket = ? AND identity = ?

-- name: honoured
-- The conditions on a put that the remote honours.
SELECT value FROM meta WHERE name = 'honoured'

-- name: honour
-- Remember them.
INSERT OR REPLACE INTO meta (name, value) VALUES ('honoured', ?)

-- name: kind_of_names
-- The kind of store that the remote is, as to names.
SELECT value FROM meta WHERE name = 'names'

-- name: remember_names
-- Remember it.
INSERT OR REPLACE INTO meta (name, value) VALUES ('names', ?)

-- name: verdict
-- The verdict on a profile.
SELECT verdict FROM write_profile WHERE bucket = ? AND identity = ? AND operation = ? AND members = ?

-- name: remember_verdict
-- Remember a verdict.
INSERT OR REPLACE INTO write_profile VALUES (?, ?, ?, ?, ?, ?)

-- name: forget_profiles
-- Forget the profiles of a bucket, or of all.
DELETE FROM write_profile WHERE ?1 = '' OR bucket = ?1
