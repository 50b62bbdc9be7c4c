-- Queries of account.py: what the queue takes of the disk.

-- name: used
-- The count.
SELECT bytes FROM account
