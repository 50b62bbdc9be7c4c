-- What version 4 changed in the tables of version 3.

-- Time that passes goes by the steady clock (SEMANTICS D-10). Older rows keep NULL, which spares writing every body anew.
ALTER TABLE change ADD COLUMN queued_at REAL;
DROP INDEX change_age;
CREATE INDEX change_age ON change (coalesce(queued_at, acked_at)) WHERE state IN ('waiting', 'pushing', 'unknown');
DROP TRIGGER upload_of_change;
CREATE TRIGGER upload_of_change AFTER DELETE ON change WHEN OLD.upload IS NOT NULL BEGIN
    DELETE FROM part WHERE upload = OLD.upload;
    UPDATE upload SET touched_at = 0,
        state = iif(state = 'landed' OR (remote IS NULL AND asked_at IS NULL), 'finished', 'doomed') WHERE id = OLD.upload;
END;
