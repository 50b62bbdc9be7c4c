-- Queries of garbage.py: body files that nothing refers to any more.

-- name: found
-- Files to delete, but for those that a row names.
SELECT file, upload FROM garbage WHERE NOT EXISTS (SELECT 1 FROM change WHERE change.file = garbage.file)
    AND NOT EXISTS (SELECT 1 FROM part WHERE part.file = garbage.file) LIMIT ?

-- name: gone
-- Note that a file is deleted.
DELETE FROM garbage WHERE file = ?

-- name: one
-- Whether a file is to be deleted.
SELECT 1 FROM garbage WHERE file = ?
