-- What version 3 changed in the tables of version 2.

ALTER TABLE change ADD COLUMN ordered INTEGER NOT NULL DEFAULT 0;
