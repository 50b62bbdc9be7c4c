-- Queries of lookups.py: what is shown. Nothing in here writes.

-- fragment: shown
-- The newest put or delete of a key, which reads and listings answer from.
op IN ('put', 'delete', 'complete') AND {pending} AND NOT EXISTS (SELECT 1 FROM change AS newer
    WHERE newer.bucket = change.bucket AND newer.key = change.key AND newer.seq > change.seq
    AND newer.op IN ('put', 'delete', 'complete') AND newer.state <> 'superseded' AND newer.state <> 'settled')

-- name: newest_change
-- The newest pending change of a key.
SELECT {change_with_body} FROM change WHERE bucket = ? AND key = ? AND op <> 'through'
    AND {pending} ORDER BY seq DESC LIMIT 1

-- name: newest_content
-- The newest pending put or delete of a key.
SELECT {change_with_body} FROM change WHERE bucket = ? AND key = ? AND op NOT IN ('through', 'tag')
    AND {pending} ORDER BY seq DESC LIMIT 1

-- name: of_key
-- The newest changes of a key.
SELECT {change} FROM change WHERE bucket = ? AND key = ? AND op <> 'through' AND state <> 'settled'
    ORDER BY seq DESC LIMIT 100

-- name: obstacle_under_prefix
-- The oldest change under a prefix that a barrier waits for.
SELECT {change} FROM change WHERE bucket = ?1 AND substr(key, 1, length(?2)) = ?2
    AND coalesce(since, seq) <= ?3 AND op <> 'through' AND {pending} ORDER BY coalesce(since, seq) LIMIT 1

-- name: obstacle_of_key
-- The same of a key.
SELECT {change} FROM change WHERE bucket = ?1 AND key = ?2
    AND coalesce(since, seq) <= ?3 AND op <> 'through' AND {pending} ORDER BY coalesce(since, seq) LIMIT 1

-- name: listed_from
-- What listings show or hide from a key on.
SELECT {change} FROM change WHERE bucket = ?1 AND key >= ?2 AND {shown} ORDER BY key LIMIT ?3

-- name: listed_between
-- The same below another key.
SELECT {change} FROM change WHERE bucket = ?1 AND key >= ?2 AND key < ?4 AND {shown}
    ORDER BY key LIMIT ?3

-- name: any_held
-- Whether a put in a bucket is held.
SELECT 1 FROM change WHERE state = 'held' AND bucket = ? AND op IN ('put', 'complete') LIMIT 1

-- name: any_parked
-- Whether a put in a bucket is parked.
SELECT 1 FROM change WHERE {kept} AND state = 'parked' AND bucket = ? AND op IN ('put', 'complete') LIMIT 1

-- name: newest
-- The seq of the newest row ever added.
SELECT seq FROM sqlite_sequence WHERE name = 'change'

-- name: tally
-- Changes and bytes by state.
SELECT state, changes, bytes FROM tally

-- name: bucket_tally
-- Changes and bytes that are pending in a bucket.
SELECT count(*), coalesce(sum(size), 0) FROM change WHERE bucket = ? AND op <> 'through'
    AND state <> 'settled'

-- name: oldest
-- When the oldest change on its way was acknowledged.
SELECT {age} FROM change WHERE {aging} ORDER BY {age} LIMIT 1

-- name: under_way
-- Changes on their way that wait for no other one, the oldest first.
SELECT {change} FROM change WHERE {aging} AND op <> 'through' ORDER BY {age} LIMIT ?

-- name: kept
-- Changes that wait for a person, in order.
SELECT {change} FROM change WHERE {kept} AND op <> 'through' AND seq > ?1
    AND (?2 = '' OR (bucket = ?2 AND substr(key, 1, length(?3)) = ?3)) AND (?4 IS NULL OR seq = ?4)
    ORDER BY seq LIMIT ?5

-- name: pending_one
-- A change that is not delivered yet.
SELECT {change} FROM change WHERE seq = ? AND op <> 'through' AND state <> 'settled'

-- name: one
-- A change with its inline body.
SELECT {change_with_body} FROM change WHERE seq = ?

-- name: by_number
-- A change.
SELECT {change} FROM change WHERE seq = ?

-- name: left
-- Changes and bytes on their way of those that were acknowledged up to a change.
SELECT count(*), coalesce(sum(size), 0) FROM change WHERE state IN {on_the_way} AND op <> 'through'
    AND coalesce(since, seq) <= ?1 AND (?2 = '' OR (bucket = ?2 AND substr(key, 1, length(?3)) = ?3))

-- name: knows_file
-- Whether a change names a file.
SELECT 1 FROM change WHERE file = ? LIMIT 1
