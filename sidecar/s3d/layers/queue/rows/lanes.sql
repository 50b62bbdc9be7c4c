-- Queries of lanes.py: lanes that the remote refuses.

-- name: shut
-- The lanes that are refused, the longest first.
SELECT {lane} FROM lane ORDER BY since

-- name: paused
-- How many lanes are paused.
SELECT count(*) FROM lane WHERE state = 'paused'

-- name: all
-- The lanes that are refused.
SELECT {lane} FROM lane

-- name: set_probe
-- Note the probe of a lane.
UPDATE lane SET probe = ? WHERE bucket = ? AND identity = ?

-- name: one
-- One lane.
SELECT {lane} FROM lane WHERE bucket = ? AND identity = ?

-- name: put
-- Write the row of a lane.
INSERT OR REPLACE INTO lane ({columns}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: open
-- Let a lane go on.
DELETE FROM lane WHERE bucket = ? AND identity = ?

-- name: end_probe
-- Note that a probe said nothing about its lane.
UPDATE lane SET probe = NULL, probe_at = ? WHERE probe = ?

-- name: hasten
-- Make the next probes due.
UPDATE lane SET probe_at = ?1 WHERE probe IS NULL AND probe_at > ?1 AND (bucket = ?2 OR ?2 = '')

-- name: recover
-- Forget the probes that a crash ended.
UPDATE lane SET probe = NULL, probe_at = 0
