-- What version 6 changed in the tables of version 5.

-- No change takes the place of another identity's before it is delivered. What holds no data is made anew behind this file.
DROP TRIGGER IF EXISTS truth_in;
DROP TRIGGER IF EXISTS truth_moved;
DROP VIEW IF EXISTS spent;

-- What the policy has said of a change (SEMANTICS F-3): nobody was asked about those that are there.
ALTER TABLE change ADD COLUMN judged INTEGER NOT NULL DEFAULT 1;
DROP INDEX IF EXISTS change_due;
