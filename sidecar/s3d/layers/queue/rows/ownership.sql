-- Queries of ownership.py: whose tables these are.

-- name: label
-- The label of the bodies.
SELECT value FROM meta WHERE name = 'bodies'

-- name: set_label
-- Give the tables a label.
INSERT OR REPLACE INTO meta (name, value) VALUES ('bodies', ?)

-- name: runs
-- The runs whose bodies may be known here.
SELECT value FROM meta WHERE name = 'runs'

-- name: set_runs
-- Note the runs.
INSERT OR REPLACE INTO meta (name, value) VALUES ('runs', ?)

-- name: belongs_to
-- The endpoint that the changes belong to.
SELECT value FROM meta WHERE name = 'remote'

-- name: assign
-- Make the changes belong to an endpoint.
INSERT OR REPLACE INTO meta (name, value) VALUES ('remote', ?)

-- name: forget_remote
-- Forget all that is known of a remote, and what was delivered to it.
DELETE FROM meta WHERE name IN ('honoured', 'names');
    DELETE FROM bucket;
    DELETE FROM bucket_right;
    DELETE FROM hold;
    DELETE FROM bucket_tag;
    DELETE FROM cors;
    DELETE FROM lane;
    DELETE FROM write_profile;
    DELETE FROM orphan_upload;
    DELETE FROM change WHERE state = 'settled' OR op = 'through';
    DELETE FROM part;
    DELETE FROM upload
