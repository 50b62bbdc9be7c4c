-- Queries of shapes.py: shapes of writes that the remote has judged.

-- name: verdict
-- The verdict on a shape.
SELECT verdict FROM shape WHERE bucket = ? AND identity = ? AND operation = ? AND members = ?

-- name: learn
-- Remember a verdict.
INSERT OR REPLACE INTO shape VALUES (?, ?, ?, ?, ?, ?)

-- name: forget
-- Forget the shapes of a bucket, or of all.
DELETE FROM shape WHERE ?1 = '' OR bucket = ?1
