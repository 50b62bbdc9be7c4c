-- Queries of claims.py: which changes a push takes next, and when there will be some.

-- name: next_bucket_held
-- The next bucket in which something is held.
SELECT bucket FROM change WHERE state = 'held' AND bucket > ? ORDER BY bucket LIMIT 1

-- name: in_doubt
-- Changes in doubt that are due, but those of lanes that are slowed down: a JSON list of [bucket, identity].
SELECT {change_with_body} FROM change WHERE state = 'in_doubt' AND next_at <= ?1
    AND NOT EXISTS (SELECT 1 FROM json_each(?2) WHERE value ->> 0 = bucket AND value ->> 1 = identity)
    ORDER BY next_at LIMIT ?3

-- name: in_doubt_in_lane
-- The change in doubt of a lane that is due for the longest time.
SELECT {change_with_body} FROM change WHERE state = 'in_doubt' AND bucket = ? AND identity = ? AND next_at <= ?
    ORDER BY next_at, seq LIMIT 1

-- name: in_doubt_and_tried
-- Changes in doubt that were tried at least so often.
SELECT {change} FROM change WHERE state = 'in_doubt' AND attempts >= ? ORDER BY next_at LIMIT ?

-- name: tried_in_lane
-- Waiting changes of a lane that were tried at least so often.
SELECT {change} FROM change WHERE {due} AND bucket = ? AND identity = ? AND {slow} = 1
    AND attempts >= ? ORDER BY next_at LIMIT ?

-- name: due_in_lane
-- Due changes of a lane whose turn it is, slow ones or the others.
SELECT {change_with_body} FROM change WHERE {due} AND bucket = ? AND identity = ? AND {slow} = ?
    AND next_at <= ? AND NOT {ahead} ORDER BY next_at, seq LIMIT ?

-- name: mark
-- Mark a change as being pushed.
UPDATE change SET state = iif(state = 'waiting', 'pushing', state), attempts = attempts + 1, attempt_at = ?1,
    next_at = ?2 WHERE seq = ?3

-- name: lane_behind
-- The next lane of a bucket.
SELECT bucket, identity FROM change WHERE {due} AND bucket = ? AND identity > ? ORDER BY identity LIMIT 1

-- name: lane_from
-- The lane of an identity in a bucket, or the next one of it.
SELECT identity FROM change WHERE {due} AND bucket = ? AND identity >= ? ORDER BY identity LIMIT 1

-- name: lane_of_next_bucket
-- The first lane of the next bucket: for a row value SQLite walks all that is equal in the first column.
SELECT bucket, identity FROM change WHERE {due} AND bucket > ? ORDER BY bucket, identity LIMIT 1

-- name: waiting_in_lane
-- Waiting changes of a lane whose turn it is.
SELECT {change_with_body} FROM change WHERE {due} AND bucket = ? AND identity = ? AND NOT {ahead}
    ORDER BY {slow}, next_at, seq LIMIT ?

-- name: first_from_key
-- The first waiting change of a lane from a key on.
SELECT {change_with_body} FROM change WHERE {due} AND bucket = ? AND identity = ? AND key >= ?
    AND NOT {ahead} ORDER BY key, seq LIMIT 1

-- name: next_in_doubt
-- When the next change in doubt is due.
SELECT min(next_at) FROM change WHERE state = 'in_doubt' AND next_at > ?

-- name: next_in_lane
-- When the next change of a lane is due, slow ones or the others.
SELECT min(next_at) FROM change WHERE {due} AND bucket = ? AND identity = ? AND {slow} = ?
    AND next_at > ?

-- name: hurry_all
-- Make due what was acknowledged up to a change.
UPDATE change SET next_at = ?1 WHERE {due} AND next_at > ?1 AND coalesce(since, seq) <= ?2
    AND (?3 = '' OR (bucket = ?3 AND substr(key, 1, length(?4)) = ?4))

-- name: hurry_unjudged
-- The same of what the policy is asked about: when it may leave, it is due.
UPDATE change SET next_at = ?1 WHERE {unjudged} AND state = 'waiting' AND next_at > ?1 AND coalesce(since, seq) <= ?2
    AND (?3 = '' OR (bucket = ?3 AND substr(key, 1, length(?4)) = ?4))

-- name: expedite
-- Make everything due that waits for its time.
UPDATE change SET next_at = ?1 WHERE {due} AND next_at > ?1

-- name: hurry_prefix
-- Make due what a barrier on a prefix waits for and nothing but its delay holds back.
UPDATE change SET next_at = ?4 WHERE bucket = ?1 AND substr(key, 1, length(?2)) = ?2
    AND coalesce(since, seq) <= ?3 AND state = 'waiting' AND attempts = 0 AND op <> 'through'
    AND next_at > ?4

-- name: hurry_key
-- The same for a barrier on a key.
UPDATE change SET next_at = ?4 WHERE bucket = ?1 AND key = ?2
    AND coalesce(since, seq) <= ?3 AND state = 'waiting' AND attempts = 0 AND op <> 'through'
    AND next_at > ?4
