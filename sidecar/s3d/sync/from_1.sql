-- Version 2 knows when objects were changed, and which deletes were not applied.
ALTER TABLE base ADD COLUMN spared INTEGER NOT NULL DEFAULT 0;
ALTER TABLE there ADD COLUMN changed REAL NOT NULL DEFAULT 0;
ALTER TABLE listing ADD COLUMN changed REAL NOT NULL DEFAULT 0;
