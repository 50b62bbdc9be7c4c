-- What version 6 changed in the tables of version 5.

-- No change takes the place of another identity's before it is delivered. What holds no data is made anew behind this file.
DROP TRIGGER IF EXISTS truth_in;
DROP TRIGGER IF EXISTS truth_moved;
DROP VIEW IF EXISTS spent;

-- A change may wait for another one, and says itself what becomes of it in a conflict (Q-21, Q-18b).
ALTER TABLE change ADD COLUMN after INTEGER;
ALTER TABLE change ADD COLUMN conflict TEXT NOT NULL DEFAULT '';
ALTER TABLE change ADD COLUMN always INTEGER NOT NULL DEFAULT 0;
ALTER TABLE change ADD COLUMN origin TEXT NOT NULL DEFAULT '';
-- A push tells of the requests that queued it (O-6).
ALTER TABLE change ADD COLUMN trace TEXT NOT NULL DEFAULT '';
-- What the policy has said of a change (SEMANTICS F-3): nobody was asked about those that are there.
ALTER TABLE change ADD COLUMN judged INTEGER NOT NULL DEFAULT 1;
-- What a delete removes (SEMANTICS F-5b): of those that are there nobody knows. The account counts it.
ALTER TABLE change ADD COLUMN removes TEXT NOT NULL DEFAULT '';
DROP TRIGGER IF EXISTS account_change_in;
DROP TRIGGER IF EXISTS account_change_out;
DROP TRIGGER IF EXISTS account_change_new;
DROP VIEW IF EXISTS account_anew;
DROP INDEX IF EXISTS change_due;
DROP INDEX IF EXISTS change_age;

-- States, columns and tables got the words of docs/SEMANTICS.md.
DROP TRIGGER IF EXISTS upload_of_change;
DROP TRIGGER IF EXISTS stray_of_change;
ALTER TABLE part RENAME COLUMN landed TO remote_etag;
ALTER TABLE stray RENAME TO orphan_upload;
ALTER TABLE shape RENAME TO write_profile;
UPDATE upload SET state = 'delivered' WHERE state = 'landed';
UPDATE upload SET state = 'aborting' WHERE state = 'doomed';
