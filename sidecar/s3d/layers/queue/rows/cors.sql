-- Queries of cors.py: the CORS rules of buckets.

-- name: rules
-- What is remembered of a bucket.
SELECT rules FROM cors WHERE bucket = ?

-- name: remember
-- Remember the rules of a bucket.
INSERT OR REPLACE INTO cors (bucket, rules, asked_at) VALUES (?, ?, ?)

-- name: trim
-- Forget the oldest beyond so many.
DELETE FROM cors WHERE bucket IN (SELECT bucket FROM cors ORDER BY asked_at DESC LIMIT -1 OFFSET ?)

-- name: forget
-- Forget those of a bucket.
DELETE FROM cors WHERE bucket = ?
