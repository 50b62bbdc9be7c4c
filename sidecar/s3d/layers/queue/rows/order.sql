-- Queries of order.py: changes that wait for other ones.

-- name: newest_content
-- The newest pending put or delete of a key.
SELECT seq, op, etag FROM change WHERE bucket = ? AND key = ? AND op NOT IN ('through', 'tag')
    AND {pending} ORDER BY seq DESC LIMIT 1

-- name: what_waits_before
-- The key of a change, and for what it and the older ones of its key wait.
SELECT bucket, key, (SELECT json_group_array(before.after) FROM change AS before WHERE before.bucket = change.bucket
    AND before.key = change.key AND before.seq <= change.seq AND before.after IS NOT NULL)
    FROM change WHERE seq = ?

-- name: move
-- Let what waited for a change wait for the one that takes its place.
UPDATE change SET after = ?1 WHERE after = ?2 AND after IS NOT NULL

-- name: park_lost
-- Park, of some changes, those that wait for one which is not there: nobody knows whether it was delivered.
UPDATE change SET state = 'parked', rule = '', after = NULL, code = 'Discarded',
    reason = 'change ' || after || ', which must be delivered before it, is not there any more'
    WHERE seq > ?1 AND seq <= ?2 AND after IS NOT NULL AND state IN ('waiting', 'held')
    AND NOT EXISTS (SELECT 1 FROM change AS named WHERE named.seq = change.after)

-- name: followers
-- How many changes wait for one.
SELECT count(*) FROM change WHERE after = ? AND after IS NOT NULL

-- name: stalled
-- How many changes wait for what does not move by itself.
WITH RECURSIVE stalled (seq, state) AS (
    SELECT seq, state FROM change WHERE after IN (SELECT seq FROM change WHERE {kept}) AND after IS NOT NULL
    UNION SELECT change.seq, change.state FROM change JOIN stalled ON change.after = stalled.seq
        WHERE change.after IS NOT NULL
) SELECT count(*) FROM stalled WHERE state = 'waiting'

-- name: hurry
-- Make due what a change waits for, at the end of all waiting.
WITH RECURSIVE before (seq) AS (
    SELECT after FROM change WHERE seq = ?1 AND after IS NOT NULL
    UNION SELECT change.after FROM change JOIN before ON change.seq = before.seq WHERE change.after IS NOT NULL
) UPDATE change SET next_at = ?2 WHERE seq IN (SELECT seq FROM before) AND {due} AND attempts = 0 AND next_at > ?2
