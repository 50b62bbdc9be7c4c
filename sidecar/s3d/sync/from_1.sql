-- Version 2 knows when objects were changed, which deletes were not applied, and which moves are half made.
ALTER TABLE base ADD COLUMN spared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE there ADD COLUMN changed REAL NOT NULL DEFAULT 0;
ALTER TABLE listing ADD COLUMN changed REAL NOT NULL DEFAULT 0;
CREATE INDEX base_content ON base (sha256);
CREATE TABLE moved (path TEXT PRIMARY KEY, goes_to TEXT NOT NULL) WITHOUT ROWID;
