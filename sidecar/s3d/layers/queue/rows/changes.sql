-- Queries of changes.py: how changes come to be, and the turns of requests.

-- name: older
-- What is pending of a key, oldest first.
SELECT seq, coalesce(since, seq), op, state, CAST(late_writes AS BLOB), base_etag, etag, CAST(trace AS BLOB), identity,
    code, CAST({age} AS REAL) FROM change
    WHERE bucket = ? AND key = ? AND {pending} ORDER BY seq

-- name: drop
-- Drop a change.
DELETE FROM change WHERE seq = ?

-- name: add
-- Add a change.
INSERT INTO change
    (since, bucket, key, identity, op, state, members, size, etag, acked_at, next_at, file, inline, upload,
    late_writes, rule, ordered, base_etag, queued_at, after, conflict, always, origin, trace, judged, removes)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: newest_first
-- What is pending of a key, newest first.
SELECT seq, op, state, identity FROM change WHERE bucket = ? AND key = ? AND {pending} ORDER BY seq DESC

-- name: tag_again
-- Give a change of tags other tags, with a new start: what was refused is wanted by nobody any more.
UPDATE change SET members = ?, state = 'waiting', refusals = 0,
    next_at = iif(state = 'parked', ?, next_at) WHERE seq = ?

-- name: absorb
-- Take the tags that wait behind a put.
DELETE FROM change WHERE op = 'tag' AND state = 'waiting' AND seq > ?1 AND (bucket, key, identity) =
    (SELECT bucket, key, identity FROM change WHERE seq = ?1 AND op = 'put') RETURNING CAST(members AS BLOB)

-- name: members
-- The members of a change.
SELECT CAST(members AS BLOB) FROM change WHERE seq = ?

-- name: set_members
-- Give a change other members.
UPDATE change SET members = ? WHERE seq = ?

-- fragment: rule_input
-- What a change is judged by, and what it was before.
seq, bucket, key, identity, op, CAST(members AS BLOB), size, CAST(removes AS BLOB), state, judged

-- name: held_or_waiting
-- What there is to judge of a change that waits or is held.
SELECT {rule_input} FROM change WHERE seq = ? AND state IN ('waiting', 'held')

-- name: to_judge
-- The next changes of a bucket that a rule may hold. By number, so that all calls together walk the table once.
SELECT {rule_input} FROM change NOT INDEXED WHERE bucket = ? AND seq > ? AND state IN ('waiting', 'held')
    AND op <> 'through' ORDER BY seq LIMIT ?

-- name: hold
-- Hold a change by a rule: nobody else need be asked.
UPDATE change SET state = 'held', rule = ?, judged = 1 WHERE seq = ?

-- name: hold_by_other
-- Note by which rule a held change is held now. No index has the rule.
UPDATE change SET rule = ? WHERE seq = ?

-- name: let_go
-- Let a held change wait for its turn.
UPDATE change SET state = 'waiting', rule = '', next_at = ?, judged = ? WHERE seq = ?

-- name: ask_anew
-- Have the policy asked about a change that waits, or nobody.
UPDATE change SET judged = ?1 WHERE seq = ?2 AND judged <> ?1

-- name: behind
-- The next one of a key that is compared at its push: a change of tags is not, and what is only kept is not pushed.
SELECT seq FROM change WHERE bucket = ? AND key = ? AND seq > ? AND op <> 'tag' AND {pending} ORDER BY seq LIMIT 1

-- name: set_base
-- Note what a change finds at the remote.
UPDATE change SET base_etag = ? WHERE seq = ?

-- name: late_writes
-- What may still arrive of a key, as a change knows it.
SELECT CAST(late_writes AS BLOB) FROM change WHERE seq = ?

-- name: set_late_writes
-- Note what may still arrive.
UPDATE change SET late_writes = ? WHERE seq = ?

-- name: take_turn
-- Stand in line for a key.
INSERT INTO change (bucket, key, identity, op, state, acked_at, queued_at, next_at)
    VALUES (?1, ?2, ?3, 'through', 'waiting', ?4, ?4, ?5)

-- name: start_turn
-- Claim the key for a request, unless something is ahead of it, on its way or kept back.
UPDATE change SET state = 'pushing' WHERE seq = ? AND state = 'waiting' AND NOT {ahead} AND NOT EXISTS (
    SELECT 1 FROM change AS stuck WHERE stuck.bucket = change.bucket AND stuck.key = change.key
    AND stuck.seq < change.seq AND stuck.state IN ('held', 'parked', 'quarantined'))

-- name: end_turn
-- Leave the line.
DELETE FROM change WHERE seq = ? AND op = 'through' RETURNING bucket, key

-- name: lose_turn
-- Leave the line without an answer.
UPDATE change SET state = 'settled', next_at = ? WHERE seq = ? AND op = 'through'
