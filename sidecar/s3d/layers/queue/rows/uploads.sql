-- Queries of uploads.py: multipart uploads, their parts, and what the remote still holds of them.

-- name: add
-- Add an upload.
INSERT INTO upload (id, bucket, key, identity, state, members, algorithm, kind, began_at, touched_at)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: find
-- An upload by its id.
SELECT {upload} FROM upload WHERE id = ?

-- name: is_remotes
-- Whether an upload at the remote is one of ours.
SELECT 1 FROM upload WHERE bucket = ?1 AND remote = ?2 UNION ALL
    SELECT 1 FROM orphan_upload WHERE bucket = ?1 AND remote = ?2 LIMIT 1

-- name: parts_behind
-- Parts behind a number.
SELECT {part} FROM part WHERE upload = ? AND number > ? ORDER BY number LIMIT ?

-- name: all_parts
-- All parts of an upload.
SELECT {part} FROM part WHERE upload = ? ORDER BY number

-- name: part
-- One part, with its inline body.
SELECT {part}, {inline} FROM part WHERE upload = ? AND number = ?

-- name: open_state
-- The state of an upload that is open.
SELECT state FROM upload WHERE id = ? AND state IN {open}

-- name: drop_part
-- Drop a part.
DELETE FROM part WHERE upload = ? AND number = ?

-- name: add_part
-- Add a part.
INSERT INTO part (upload, number, size, etag, sums, at, file, inline, remote_etag)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: touch
-- Note that an upload was used, and its state.
UPDATE upload SET touched_at = ?, state = ? WHERE id = ?

-- name: etags
-- Numbers and ETags of the parts.
SELECT number, etag FROM part WHERE upload = ?

-- name: drop_parts
-- Drop all parts.
DELETE FROM part WHERE upload = ?

-- name: close
-- Close an upload.
UPDATE upload SET state = ?1, answer = ?2, touched_at = ?3, remote = iif(?1 = 'finished', NULL, remote)
    WHERE id = ?4

-- name: remote_of_open
-- What the remote may hold of an upload that can be aborted.
SELECT remote, asked_at FROM upload WHERE id = ? AND (state IN {open} OR state = 'quarantined')

-- name: end
-- End an upload.
UPDATE upload SET state = ?, touched_at = ? WHERE id = ?

-- name: open_in_bucket
-- The open uploads of a bucket.
SELECT id FROM upload WHERE bucket = ? AND state IN {open}

-- name: spill
-- Let an open upload go to the remote.
UPDATE upload SET state = 'spilling' WHERE id = ? AND state = 'open'

-- name: spilled
-- Note that the remote has all parts, where it is so.
UPDATE upload SET state = 'spilled' WHERE id = ?1 AND state = 'spilling' AND remote IS NOT NULL
    AND NOT EXISTS (SELECT 1 FROM part WHERE upload = ?1 AND remote_etag IS NULL)

-- name: ask
-- Note that the remote is asked for an upload.
UPDATE upload SET asked_at = ? WHERE id = ?

-- name: unasked
-- Note that the remote began none.
UPDATE upload SET asked_at = NULL WHERE id = ?

-- name: begun
-- Keep the id of the remote's upload.
UPDATE upload SET remote = ?, asked_at = NULL WHERE id = ?

-- name: unland
-- Note that the remote has no part of it.
UPDATE part SET remote_etag = NULL WHERE upload = ?

-- name: lost
-- Note that the remote does not have the upload any more.
UPDATE upload SET remote = NULL, asked_at = NULL, state = iif(state = 'delivered', 'complete', state)
    WHERE id = ?

-- name: part_delivered_and_dropped
-- Note that the remote has a part, whose bytes go from here.
UPDATE part SET remote_etag = ?, file = NULL, inline = NULL
    WHERE upload = ? AND number = ? AND etag = ? AND file IS ?

-- name: part_delivered
-- Note that the remote has a part.
UPDATE part SET remote_etag = ? WHERE upload = ? AND number = ? AND etag = ? AND file IS ?

-- name: delivered
-- Note that the remote has confirmed the object.
UPDATE upload SET state = 'delivered', remote = NULL, asked_at = NULL WHERE id = ? AND state = 'complete'

-- name: finish
-- End an upload whose object something else has replaced.
UPDATE upload SET state = 'finished' WHERE id = ?

-- name: rid
-- Note that the remote holds nothing of an upload that is being aborted any more.
UPDATE upload SET state = 'finished', remote = NULL, asked_at = NULL WHERE id = ? AND state = 'aborting'

-- name: note_end
-- Give what has just ended its time: a trigger knows no clock.
UPDATE upload SET touched_at = ? WHERE state = 'finished' AND touched_at = 0

-- name: forget_finished
-- Forget finished uploads that nobody asks about any more.
DELETE FROM upload WHERE id IN
    (SELECT id FROM upload WHERE state = 'finished' AND touched_at < ? LIMIT 500)

-- name: expired
-- Uploads of a state that nobody has touched since.
SELECT id FROM upload WHERE state = ? AND touched_at < ? LIMIT 100

-- name: any_finished
-- Whether there are finished uploads to forget.
SELECT 1 FROM upload WHERE state = 'finished' AND touched_at < ? LIMIT 1

-- name: in_state
-- Uploads in a state, the longest untouched first.
SELECT {upload} FROM upload WHERE state = ? ORDER BY touched_at LIMIT 100

-- name: orphans
-- Uploads at the remote that are to be aborted.
SELECT bucket, remote, key, identity FROM orphan_upload LIMIT 100

-- name: orphan_aborted
-- Note that the remote has dropped an upload.
DELETE FROM orphan_upload WHERE bucket = ? AND remote = ?

-- name: largest_open
-- Open uploads that hold bytes here, the largest first.
SELECT {upload} FROM upload WHERE state = 'open' AND bytes > 0 ORDER BY bytes DESC LIMIT 100

-- name: staged
-- Parts and bytes of the open uploads.
SELECT coalesce(sum(parts), 0), coalesce(sum(bytes), 0) FROM upload WHERE state IN {open}

-- name: count_open
-- How many uploads are open, damaged ones among them.
SELECT count(*) FROM upload WHERE state IN ('open', 'spilling', 'spilled', 'quarantined')

-- name: staying
-- Bytes of open uploads that are not on their way to the remote.
SELECT coalesce(sum(bytes), 0) FROM upload WHERE state = 'open'

-- name: open_in
-- Open uploads of an identity in a bucket by key, then by id.
SELECT {upload} FROM upload WHERE bucket = ?1 AND state IN {open} AND (key, id) > (?2, ?3)
    AND key >= ?4 AND substr(key, 1, length(?4)) = ?4 AND identity = ?6 ORDER BY key, id LIMIT ?5

-- name: concern
-- Whether a list of a bucket's uploads is another one here than at the remote.
SELECT 1 FROM upload WHERE bucket = ?1 AND state IN {open} UNION ALL
    SELECT 1 FROM upload WHERE bucket = ?1 AND remote IS NOT NULL UNION ALL
    SELECT 1 FROM orphan_upload WHERE bucket = ?1 LIMIT 1

-- name: knows_file
-- Whether a part names a file.
SELECT 1 FROM part WHERE file = ? LIMIT 1
