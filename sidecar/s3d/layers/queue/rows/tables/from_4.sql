-- What version 5 changed in the tables of version 4: states and columns got the words of docs/SEMANTICS.md, and one table
-- names all body files that are to be deleted.

-- What holds no data goes first, where it speaks of what changes; it is made anew behind this file.
DROP TRIGGER IF EXISTS truth_handed;
DROP TRIGGER IF EXISTS truth_in;
DROP TRIGGER IF EXISTS truth_moved;
DROP TRIGGER IF EXISTS litter_of_change;
DROP TRIGGER IF EXISTS litter_of_let_go;
DROP TRIGGER IF EXISTS litter_of_part;
DROP TRIGGER IF EXISTS litter_of_emptied;
DROP VIEW IF EXISTS spent;
DROP INDEX IF EXISTS change_claim;
DROP INDEX IF EXISTS change_unknown;
DROP INDEX IF EXISTS change_age;

ALTER TABLE change RENAME COLUMN former TO late_writes;
INSERT INTO tally VALUES ('in_doubt', 0, 0);
UPDATE change SET state = 'in_doubt' WHERE state = 'unknown';
DELETE FROM tally WHERE state = 'unknown';

-- A database of version 1 has got no such table on its way here.
CREATE TABLE IF NOT EXISTS litter (file TEXT PRIMARY KEY, upload TEXT NOT NULL) WITHOUT ROWID;
