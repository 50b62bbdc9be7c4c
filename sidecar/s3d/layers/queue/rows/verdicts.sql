-- Queries of verdicts.py: what the policy has said of each change.

-- name: policy
-- The policy that is in force, as text.
SELECT value FROM meta WHERE name = 'policy'

-- name: set_policy
-- Put a policy in force.
INSERT OR REPLACE INTO meta (name, value) VALUES ('policy', ?)

-- name: policy_at_start
-- What the start-up values said of it, as text.
SELECT value FROM meta WHERE name = 'policy at start'

-- name: set_policy_at_start
-- Note what the start-up values say.
INSERT OR REPLACE INTO meta (name, value) VALUES ('policy at start', ?)

-- name: doubt_all
-- Note of each bucket in which something waits or is held that it is to be judged anew.
INSERT OR IGNORE INTO unjudged (bucket)
    SELECT DISTINCT bucket FROM change WHERE state IN ('waiting', 'held') AND op <> 'through'

-- name: to_ask
-- The next changes in a state that the policy has said this of, oldest first.
SELECT {asked} FROM change WHERE {unjudged} AND judged = ? AND state = ? AND seq > ? ORDER BY seq LIMIT ?

-- name: asked
-- The same of one that may have changed meanwhile.
SELECT {asked} FROM change WHERE seq = ? AND {unjudged} AND state IN ('waiting', 'held')

-- name: allow
-- Let a change leave. One that was held is due, and not behind those that were queued since and never held.
UPDATE change SET judged = 1, state = 'waiting', rule = '', next_at = iif(state = 'held', min(next_at, ?), next_at)
    WHERE seq = ?

-- name: hold
-- Hold a change by the policy, or because it came to no decision.
UPDATE change SET judged = ?, state = 'held', rule = ? WHERE seq = ?

-- name: hold_unasked
-- Hold the oldest changes that wait and that the policy has said nothing of.
UPDATE change SET state = 'held', rule = ?1 WHERE seq IN
    (SELECT seq FROM change WHERE {unjudged} AND judged = 0 AND state = 'waiting' ORDER BY seq LIMIT ?2) RETURNING bucket

-- name: allow_unasked
-- Let the same leave.
UPDATE change SET judged = 1 WHERE seq IN
    (SELECT seq FROM change WHERE {unjudged} AND judged = 0 AND state = 'waiting' ORDER BY seq LIMIT ?1) RETURNING bucket

-- name: deny_still
-- Leave a change denied.
UPDATE change SET judged = ? WHERE seq = ?

-- name: said
-- What the policy has said of a change.
SELECT judged FROM change WHERE seq = ?

-- name: waiting
-- What waits for a verdict: changes and bytes.
SELECT count(*), coalesce(sum(size), 0) FROM change WHERE {unjudged} AND judged = 0 AND state = 'waiting'

-- name: unjudged
-- How many changes the policy has not said anything of.
SELECT count(*) FROM change WHERE {unjudged} AND judged = 0 AND state IN ('waiting', 'held')
