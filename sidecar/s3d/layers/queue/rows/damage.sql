-- Queries of damage.py: rows that cannot be read, and the counts. Statements on
-- whatever column or table are made there.

-- name: behind
-- The next changes behind a number.
SELECT {change} FROM change NOT INDEXED WHERE seq > ? ORDER BY seq LIMIT ?

-- name: attempts
-- Changes that were under way.
SELECT {change} FROM change WHERE state IN ('pushing', 'in_doubt')

-- name: one
-- A change.
SELECT {change} FROM change WHERE seq = ?

-- name: forget
-- Forget a change that was delivered, or a turn.
DELETE FROM change WHERE seq = ?

-- name: set_state
-- Give a change a state, now that its size is a number again: triggers count by it.
UPDATE change SET state = ? WHERE seq = ?

-- name: mend_inline
-- Make a body that is a text one of bytes.
UPDATE change SET inline = CAST(inline AS BLOB) WHERE seq = ? AND typeof(inline) = 'text'

-- name: note
-- Keep a row as it was found.
INSERT OR IGNORE INTO damaged (seq, found, reason, remains)
    VALUES (?, unixepoch('now', 'subsec'), ?, ?)

-- name: uploads_behind
-- The next uploads behind an id.
SELECT {upload}, typeof(id) = 'text' FROM upload WHERE id > ? ORDER BY id LIMIT ?

-- name: parts
-- The parts of an upload.
SELECT {part} FROM part WHERE upload = ?

-- name: sound_counts
-- States whose counts can be read.
SELECT CAST(state AS BLOB) FROM tally
    WHERE typeof(changes) = 'integer' AND changes >= 0 AND typeof(bytes) = 'integer' AND bytes >= 0

-- name: drop_counts
-- Drop the counts.
DELETE FROM tally

-- name: add_count
-- Begin to count a state.
INSERT INTO tally VALUES (?, 0, 0)

-- name: rename_upload
-- Give an upload whose id cannot be read one that nobody has.
UPDATE upload SET id = 'damaged-' || hex(id), state = 'quarantined', touched_at = unixepoch('now', 'subsec')
    WHERE CAST(id AS BLOB) = ?

-- name: change_of_upload
-- The change that is made of an upload.
SELECT seq FROM change WHERE upload = ? AND state <> 'settled'

-- name: mend_parts
-- Let parts of no size be empty.
UPDATE part SET size = 0 WHERE upload = ? AND typeof(size) <> 'integer'

-- name: count_parts
-- Parts and bytes of an upload that are here.
SELECT count(*), coalesce(sum(size), 0) FROM part WHERE upload = ?
    AND (file IS NOT NULL OR inline IS NOT NULL)

-- name: overtaken
-- Whether a newer put or delete of its identity has taken the key.
SELECT 1 FROM change WHERE bucket = ? AND key = ? AND seq > ? AND identity = ? AND op NOT IN ('through', 'tag')
    AND state <> 'settled' LIMIT 1

-- name: count
-- What is pending by state, as the rows say.
SELECT CAST(state AS BLOB), count(*), total(iif(typeof(size) = 'integer', size, 0)) FROM change
    WHERE op <> 'through' GROUP BY 1

-- name: clear_counts
-- Begin to count anew.
UPDATE tally SET changes = 0, bytes = 0

-- name: set_count
-- Note the count of a state.
UPDATE tally SET changes = ?, bytes = ? WHERE state = ?

-- name: untold
-- Changes that were set aside and are not reported yet.
SELECT seq, reason FROM damaged WHERE told = 0 ORDER BY seq LIMIT 100

-- name: told
-- Note that somebody was.
UPDATE damaged SET told = 1 WHERE seq = ?
