-- What version 2 changed in the tables of version 1.

ALTER TABLE change ADD COLUMN upload TEXT;
ALTER TABLE change ADD COLUMN former TEXT NOT NULL DEFAULT '[]';
ALTER TABLE change ADD COLUMN rule TEXT NOT NULL DEFAULT '';
