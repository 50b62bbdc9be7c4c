-- Queries of late_writes.py: settled changes that are kept for a while.

-- name: kept_put
-- The put that is kept of a key.
SELECT seq FROM change WHERE bucket = ? AND key = ? AND state = 'settled' AND op = 'put'

-- name: replaced
-- The settled change of the key of a turn.
SELECT kept.seq, kept.upload FROM change AS kept, change AS turn WHERE turn.seq = ?
    AND kept.bucket = turn.bucket AND kept.key = turn.key AND kept.seq < turn.seq AND kept.state = 'settled'
    AND kept.op <> 'through'

-- name: drop_body
-- Let go of a settled body; what may arrive stays.
UPDATE change SET op = 'through', file = NULL, inline = NULL, upload = NULL WHERE seq = ?

-- name: kept_since
-- When the oldest change that is kept was settled.
SELECT min(next_at) FROM change WHERE state = 'settled'

-- name: settled
-- Settled changes whose time is over, the oldest first.
SELECT {late_writes}, {change} FROM change WHERE state = 'settled' AND next_at <= ?
    ORDER BY next_at LIMIT ?

-- name: release
-- Drop a settled change.
DELETE FROM change WHERE seq = ? AND state = 'settled'

-- name: push_again
-- Push a settled change once more, unless a newer one has taken the key.
UPDATE change SET state = 'waiting', next_at = ?, attempts = 0 WHERE seq = ? AND state = 'settled'
    AND NOT EXISTS (SELECT 1 FROM change AS newer WHERE newer.bucket = change.bucket AND newer.key = change.key
    AND newer.seq > change.seq AND newer.state <> 'settled')
