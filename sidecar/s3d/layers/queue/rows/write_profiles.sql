-- Queries of write_profiles.py: write profiles that the remote has judged.

-- name: verdict
-- The verdict on a profile.
SELECT verdict FROM shape WHERE bucket = ? AND identity = ? AND operation = ? AND members = ?

-- name: learn
-- Remember a verdict.
INSERT OR REPLACE INTO shape VALUES (?, ?, ?, ?, ?, ?)

-- name: forget
-- Forget the profiles of a bucket, or of all.
DELETE FROM shape WHERE ?1 = '' OR bucket = ?1
