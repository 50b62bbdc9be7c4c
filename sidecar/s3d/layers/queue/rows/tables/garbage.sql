-- Body files that nothing refers to any more (SEMANTICS D-2). A row is written in the transaction that lets go of the file,
-- and goes when the file is deleted: whatever crashes between, the next look at this table deletes it.
CREATE TABLE garbage (
    file    TEXT PRIMARY KEY,
    upload  TEXT NOT NULL                         -- whose readers must be gone first; '': nobody's
) WITHOUT ROWID;
CREATE TRIGGER garbage_of_change AFTER DELETE ON change WHEN OLD.file IS NOT NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, '');
END;
CREATE TRIGGER garbage_of_emptied_change AFTER UPDATE OF file ON change WHEN OLD.file IS NOT NULL AND NEW.file IS NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, '');
END;
CREATE TRIGGER garbage_of_part AFTER DELETE ON part WHEN OLD.file IS NOT NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, OLD.upload);
END;
CREATE TRIGGER garbage_of_emptied_part AFTER UPDATE OF file ON part WHEN OLD.file IS NOT NULL AND NEW.file IS NULL BEGIN
    INSERT OR IGNORE INTO garbage VALUES (OLD.file, OLD.upload);
END;
