-- Queries of transitions.py: what an attempt came to, and what a person decides.

-- name: confirmed
-- A change that is under way, and the settled one that is kept of its key.
SELECT new.op, CAST(new.late_writes AS BLOB), old.seq, CAST(old.late_writes AS BLOB), new.bucket, new.key,
    new.etag
    FROM change AS new
    LEFT JOIN change AS old ON old.bucket = new.bucket AND old.key = new.key AND old.state = 'settled'
    WHERE new.seq = ? AND new.state IN ('pushing', 'in_doubt')

-- name: passed
-- What a delivered change has passed: it was kept back, or is let go since, or its lane is paused.
SELECT old.seq, old.state FROM change AS new JOIN change AS old ON old.bucket = new.bucket AND old.key = new.key
    AND old.seq < new.seq AND (old.state IN {kept_back} OR (old.state = 'waiting' AND old.ordered = 0))
    WHERE new.seq = ? AND new.op IN ('put', 'delete', 'complete')

-- name: drop_spent
-- Drop what was superseded and nobody keeps.
DELETE FROM change WHERE seq IN (SELECT spent.seq FROM spent JOIN change AS new ON new.bucket = spent.bucket
    AND new.key = spent.key WHERE new.seq = ?)

-- name: drop_tags
-- Drop a change of tags that the remote has taken.
DELETE FROM change WHERE seq = ? RETURNING bucket, key, CAST(members AS BLOB)

-- name: drop
-- Drop a change.
DELETE FROM change WHERE seq = ?

-- name: settle
-- Keep a delivered change for a while.
UPDATE change SET state = 'settled', late_writes = ?, next_at = ? WHERE seq = ?

-- name: made_by_us
-- What attempts of ours at a key may have made.
SELECT CAST(late_writes AS BLOB) FROM change WHERE bucket = ? AND key = ? AND (seq = ? OR state = 'settled')

-- name: set_base
-- Give a change another base.
UPDATE change SET base_etag = ? WHERE seq = ?

-- name: supersede
-- Supersede a change: the next one of its key knows what may arrive (truth.sql).
UPDATE change SET state = 'superseded' WHERE seq = ?

-- name: put_back
-- Record an attempt that did not settle.
UPDATE change SET state = ?2, next_at = ?3, code = ?4, reason = ?5, refusals = ?6
    WHERE seq = ?1 AND state IN ('pushing', 'in_doubt')

-- name: overtaken
-- Whether a newer change takes the place of one that would wait again.
SELECT coalesce(sum(op NOT IN ('through', 'tag')) > 0 AND sum(op = 'through' OR ordered OR identity <> ?4) = 0, 0)
    FROM change WHERE bucket = ?1 AND key = ?2 AND seq > ?3

-- name: under_way
-- The attempt of a change that is under way.
SELECT etag, coalesce(attempt_at, acked_at) FROM change WHERE seq = ? AND op <> 'tag'
    AND state IN ('pushing', 'in_doubt')

-- name: quarantine
-- Set a change aside whose body is bad.
UPDATE change SET state = iif(state IN ('superseded', 'settled'), state, 'quarantined'),
    code = 'CorruptBody', reason = ? WHERE seq = ? AND op <> 'through'

-- name: drop_waiting_turns
-- Drop the turns of clients that are gone.
DELETE FROM change WHERE state = 'waiting' AND op = 'through'

-- name: was_pushing
-- What was under way when the last process ended. Its state is said twice, in the words of an index too: no start walks
-- the changes that wait.
SELECT seq, op, etag, coalesce(attempt_at, queued_at, acked_at) FROM change
    WHERE {aging} AND state = 'pushing'

-- name: settle_turns
-- Keep what the turns under way may have sent.
UPDATE change SET state = 'settled', next_at = coalesce(queued_at, acked_at)
    WHERE {aging} AND state = 'pushing' AND op = 'through'

-- name: doubt
-- What was under way is in doubt.
UPDATE change SET state = 'in_doubt', next_at = 0 WHERE {aging} AND state = 'pushing'

-- name: doubt_now
-- What is in doubt is due.
UPDATE change SET next_at = 0 WHERE state = 'in_doubt'

-- name: unpark
-- Try a parked change again.
UPDATE change SET state = 'waiting', next_at = ?, refusals = 0 WHERE seq = ? AND state = 'parked'

-- name: discard
-- Drop a change that waits for a person.
DELETE FROM change WHERE seq = ? AND {kept}
