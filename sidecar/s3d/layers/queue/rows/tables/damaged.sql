-- Rows of changes that could not be read, as they were found (SEMANTICS D-4). What they became is in `change`.
CREATE TABLE damaged (
    seq     INTEGER PRIMARY KEY,                  -- of the change
    found   REAL NOT NULL,                        -- Unix time
    reason  TEXT NOT NULL,                        -- which columns cannot be read, and why
    remains BLOB NOT NULL,                        -- each column of the row as it stood there: name, =, literal of SQL, end of line
    told    INTEGER NOT NULL DEFAULT 0            -- 1: the log and the metric know of it
);
CREATE INDEX damaged_told ON damaged (seq) WHERE told = 0;
CREATE TRIGGER damaged_gone AFTER DELETE ON change WHEN OLD.code = 'CorruptRow' BEGIN
    DELETE FROM damaged WHERE seq = OLD.seq;
END;
