-- Queries of times.py: the steady clock, and times that cannot be.

-- name: clock
-- The clock as it was noted.
SELECT boot, ahead, seen FROM clock

-- name: newest_on_the_way
-- When the newest change on its way was acknowledged, before a moment.
SELECT {age} FROM change WHERE {aging} AND {age} <= ? ORDER BY {age} DESC LIMIT 1

-- name: note
-- Note what the clock shows.
INSERT OR REPLACE INTO clock (one, boot, ahead, seen) VALUES (1, ?, ?, ?)

-- name: mend_due
-- Make due what waits in a lane for longer than it can.
UPDATE change SET next_at = ? WHERE {due} AND bucket = ? AND identity = ? AND {slow} = ?
    AND next_at > ?

-- name: mend_in_doubt
-- Make due what is in doubt for longer than it can be. What is under way has NEVER.
UPDATE change SET next_at = ?1 WHERE state = 'in_doubt' AND next_at > ?2 AND next_at <> ?3

-- name: mend_settled
-- Let what was settled in the time to come be settled now.
UPDATE change SET next_at = ?1 WHERE state = 'settled' AND next_at > ?1

-- name: mend_age
-- Let what is older than it can be begin now.
UPDATE change SET queued_at = ?1 WHERE {aging} AND {age} > ?1

-- name: mend_probe
-- Make due the probes that wait for longer than they can.
UPDATE lane SET probe_at = ?1 WHERE probe IS NULL AND probe_at > ?2

-- name: mend_lane
-- Let a refusal of the time to come begin now.
UPDATE lane SET since = ?1 WHERE since > ?1

-- name: mend_upload
-- Let what was used in the time to come be used now.
UPDATE upload SET touched_at = ?1 WHERE state IN {sound} AND touched_at > ?1

-- name: mend_hold
-- Let what was asked for in the time to come be asked for now.
UPDATE hold SET asked_at = ?1 WHERE asked_at > ?1
